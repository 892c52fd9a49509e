import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import { holdLock, type JobLock } from '../../workers/queue/job-lock.ts';
import type { JobQueue } from '../../workers/queue/queues.ts';
import { makePlace } from '../support/place.ts';

/** A job among the active ones, and what is in Redis of its lock. */
async function makeLock() {
  const { config } = await makePlace();
  const redis = new Redis(inject('redis'));
  const toKey = (name: string): string => `${config.queue.prefix}:q:${name}`;
  onTestFinished(async () => {
    await redis.del(toKey('w.0:lock'), toKey('active'), toKey('stalled'));
    redis.disconnect();
  });
  await redis.rpush(toKey('active'), 'v.1', 'w.0');
  const queue = { toKey } as unknown as JobQueue;
  const lock: JobLock = { queue, job_id: 'w.0', token: 'mine', lock_ms: 60_000 };
  return { redis, toKey, hold: () => holdLock(redis, lock), holder: () => redis.get(toKey('w.0:lock')) };
}

test('a lock that is there is held, one of somebody else is lost and left alone', async () => {
  const { redis, toKey, hold, holder } = await makeLock();
  await redis.set(toKey('w.0:lock'), 'mine');
  expect(await hold()).toBe('held');
  await redis.set(toKey('w.0:lock'), 'theirs');
  expect(await hold()).toBe('lost');
  expect(await holder()).toBe('theirs');
});

test('a lock that merely ran out is taken again, and the job is no longer marked as that of a lost worker', async () => {
  const { redis, toKey, hold, holder } = await makeLock();
  await redis.sadd(toKey('stalled'), 'v.1', 'w.0');
  expect(await hold()).toBe('regained');
  expect(await holder()).toBe('mine');
  expect(await redis.pttl(toKey('w.0:lock'))).toBeGreaterThan(50_000);
  // With the mark, the next look for lost workers would give the job to another one as well.
  expect(await redis.smembers(toKey('stalled'))).toEqual(['v.1']);
});

test('a job that was given back to the queue meanwhile is lost, though nobody holds it', async () => {
  const { redis, toKey, hold, holder } = await makeLock();
  await redis.lrem(toKey('active'), 0, 'w.0');
  expect(await hold()).toBe('lost');
  expect(await holder()).toBeNull();
});

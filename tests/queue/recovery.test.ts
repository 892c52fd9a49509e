import { EventEmitter } from 'node:events';
import type { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { startRecovery } from '../../workers/queue/recovery.ts';
import { makePlace } from '../support/place.ts';

interface Bench {
  /** Whole seconds, as Redis tells them. */
  uptime: number;
  /** What an answer waits for. */
  answer: Promise<void>;
  asked: number;
  looks: number;
  reconnect: () => void;
  pass: (ms: number) => Promise<unknown>;
}

/** A worker that looks for the jobs of lost ones, by a clock that the test moves. */
async function makeBench(lock_seconds: number): Promise<Bench> {
  const { config } = await makePlace({ queue: { lock_seconds, stalled_check_seconds: 1 } });
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const redis = Object.assign(new EventEmitter(), {
    status: 'ready',
    info: async () => {
      bench.asked += 1;
      await bench.answer;
      return `uptime_in_seconds:${bench.uptime}`;
    },
  });
  const bench: Bench = {
    uptime: 86_400,
    answer: Promise.resolve(),
    asked: 0,
    looks: 0,
    reconnect: () => void redis.emit('ready'),
    pass: (ms) => vi.advanceTimersByTimeAsync(ms),
  };
  const moveStalledJobsToWait = async (): Promise<string[]> => {
    bench.looks += 1;
    return [];
  };
  const worker = { getBackend: () => ({ moveStalledJobsToWait }) } as unknown as Worker<JobData>;
  const side = { redis: redis as unknown as Redis, refusals: { met: () => false } };
  const recovery = startRecovery(config, worker, side as never, createLogger('test', {}, { level: 'fatal' }));
  onTestFinished(() => recovery.stop());
  return bench;
}

test('after an answer that took long nobody is taken for lost before the living could renew their locks', async () => {
  const bench = await makeBench(2);
  await bench.pass(1000);
  expect([bench.asked, bench.looks]).toEqual([1, 1]);
  // A Redis that hangs with its connections open: the renewals of the others stand behind this question.
  const hung = Promise.withResolvers<void>();
  bench.answer = hung.promise;
  await bench.pass(2500);
  expect([bench.asked, bench.looks]).toEqual([2, 1]);
  hung.resolve();
  await bench.pass(1900);
  expect(bench.looks).toBe(1);
  await bench.pass(1100);
  expect(bench.looks).toBe(2);
});

test('a worker that starts with its Redis takes nobody for lost before the others could come back', async () => {
  const bench = await makeBench(60);
  for (bench.uptime = 0; bench.uptime < 5; bench.uptime += 1) await bench.pass(1000);
  expect([bench.asked, bench.looks]).toEqual([5, 0]);
  await bench.pass(1000);
  expect(bench.looks).toBe(1);
});

test('cut off from a Redis that went on, a worker gives the others the whole time of a lock; after a start of Redis, seconds', async () => {
  const bench = await makeBench(60);
  bench.reconnect();
  await bench.pass(59_000);
  expect(bench.looks).toBe(0);
  await bench.pass(1000);
  expect(bench.looks).toBe(1);
  bench.reconnect();
  bench.uptime = 59;
  await bench.pass(4000);
  expect(bench.looks).toBe(1);
  await bench.pass(1000);
  expect(bench.looks).toBe(2);
});

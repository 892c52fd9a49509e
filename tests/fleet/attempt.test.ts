/** What an attempt is told when it asks whether it may publish. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Job, Worker } from 'bullmq';
import { expect, onTestFinished, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import type { Questions } from '../../workers/fleet/child.ts';
import { createProcessor } from '../../workers/fleet/processor.ts';
import type { TaskProcesses } from '../../workers/fleet/task-processes.ts';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { makeFleet } from '../support/fleet.ts';

const log = createLogger('test', {}, { level: 'fatal' });

/** An attempt in the hands of a worker, with a process that only asks. */
async function makeAttempt() {
  const fleet = await makeFleet();
  const { config } = fleet.place;
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const id = await fleet.start({ one: {} });
  const queue = side.queues.get(`${config.app_id}.q`);
  const worker = new Worker<JobData>(queue.name, null, {
    connection: side.redis,
    prefix: config.queue.prefix,
  });
  onTestFinished(() => worker.close());
  const asks = Promise.withResolvers<Questions>();
  const stopped = Promise.withResolvers<LongshoreError>();
  const processes: TaskProcesses = {
    waiting: () => null,
    start: (_, questions) => {
      asks.resolve(questions);
      return {
        pid: 0,
        loaded: Promise.resolve({ code: null, limits: {}, retry: {} }),
        ended: stopped.promise.then((error) => ({ kind: 'stopped', error }) as const),
        start: () => undefined,
        warn: () => undefined,
        stop: async (error) => stopped.resolve(error),
      };
    },
  };
  const parts = { config, store: fleet.store, side, log, name: 'w1', host: 'h' };
  const processor = createProcessor(parts, processes);
  const job: Job<JobData> | undefined = await worker.getNextJob('mine');
  if (job === undefined) throw new Error('the workflow was not queued');
  const processing = processor.process(job, 'mine').catch((error: unknown) => error);
  onTestFinished(async () => {
    await processor.stopAll(new LongshoreError('E_WORKER_STOPPED', 'the test is over'), 0);
    await processing;
  });
  const lock = `${queue.toKey(job.id ?? '')}:lock`;
  const questions = await asks.promise;
  const [key] = [...processor.running.values()].map((one) => one.key);
  if (key === undefined) throw new Error('nothing runs');
  return { id, fleet, lock, redis: side.redis, processor, key, job, questions, stopped: stopped.promise };
}

/** What has become of it a moment later. */
const now = (stopped: Promise<LongshoreError>): Promise<string> =>
  Promise.race([stopped.then(({ code }) => code), sleep(50, 'goes on')]);

test('it may publish while the queue and the records both say that the job is its own', async () => {
  const { id, fleet, lock, redis, questions } = await makeAttempt();
  expect(await questions.lease()).toBeNull();
  // Another worker has been given the job, and has not claimed it yet: the records know of nothing.
  await redis.set(lock, 'theirs');
  expect(await questions.lease()).toBe('the lock on its job was lost');
  await redis.set(lock, 'mine');
  expect(await questions.lease()).toBeNull();
  await fleet.store.records.pause(id, { actor: 'ana', take_out: false });
  expect(await questions.lease()).toMatch(/the step was stopped/);
});

test('it is stopped when its lock is lost to another worker, and not when that merely ran out', async () => {
  const { lock, redis, processor, job, stopped } = await makeAttempt();
  await redis.del(lock);
  await processor.lockLost([job.id ?? '']);
  expect(await redis.get(lock)).toBe('mine');
  await redis.set(lock, 'theirs');
  await processor.lockLost(['another.0']);
  expect(await now(stopped)).toBe('goes on');
  await processor.lockLost([job.id ?? '']);
  expect((await stopped).code).toBe('E_LEASE_LOST');
});

test('an order to stop an earlier attempt, or one of another worker, does not stop it', async () => {
  const { processor, key, stopped } = await makeAttempt();
  const order = { ...key, worker: 'w1', reason: 'paused', grace_seconds: 0 };
  expect(await processor.cancel({ ...order, worker: 'w2' })).toBe(false);
  expect(await processor.cancel({ ...order, number: key.number + 1 })).toBe(true);
  expect(await processor.cancel({ ...order, task_id: 'another' })).toBe(true);
  expect(await now(stopped)).toBe('goes on');
  expect(await processor.cancel(order)).toBe(true);
  expect((await stopped).code).toBe('E_REVOKED');
});

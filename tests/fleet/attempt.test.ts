/** What an attempt is told when it asks whether it may publish. */
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
  return { id, fleet, lock, redis: side.redis, questions: await asks.promise, stopped: stopped.promise };
}

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

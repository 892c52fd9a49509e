/** What an attempt is told when it asks whether it may publish. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Job, Worker } from 'bullmq';
import { expect, onTestFinished, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import type { Questions } from '../../workers/fleet/isolation/child.ts';
import { createProcessor } from '../../workers/fleet/job/processor.ts';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { makeFleet } from '../support/fleet.ts';
import { standInProcesses } from './stand-in-processes.ts';

const log = createLogger('test', {}, { level: 'fatal' });

/** A worker's side of things for one workflow, whose first job it has been given; its process only asks. */
async function makeWorker({
  steps = { one: {} },
  claims = async () => undefined,
}: {
  steps?: Record<string, object>;
  claims?: () => Promise<void>;
} = {}) {
  const fleet = await makeFleet();
  const { config } = fleet.place;
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const id = await fleet.start(steps);
  const queue = side.queues.get(`${config.app_id}.q`);
  const worker = new Worker<JobData>(queue.name, null, {
    connection: side.redis,
    prefix: config.queue.prefix,
  });
  onTestFinished(() => worker.close());
  const asks = Promise.withResolvers<Questions>();
  const { processes, stopped } = standInProcesses(asks.resolve);
  const { records } = fleet.store;
  const slow: typeof records.claim = async (...args) => {
    await claims();
    return records.claim(...args);
  };
  const store = { ...fleet.store, records: { ...records, claim: slow } };
  const processor = createProcessor({ config, store, side, log, name: 'w1', host: 'h' }, processes);
  const job: Job<JobData> | undefined = await worker.getNextJob('mine');
  if (job === undefined) throw new Error('the workflow was not queued');
  const process = (): Promise<unknown> => {
    const processing = processor.process(job, 'mine').catch((error: unknown) => error);
    onTestFinished(async () => {
      await processor.stopAll(new LongshoreError('E_WORKER_STOPPED', 'the test is over'), 0);
      await processing;
    });
    return processing;
  };
  const { redis } = side;
  return { id, fleet, queue, redis, processor, job, process, asks: asks.promise, stopped };
}

/** An attempt that runs there. */
async function makeAttempt() {
  const worker = await makeWorker();
  void worker.process();
  const questions = await worker.asks;
  const [key] = [...worker.processor.running.values()].map((one) => one.key);
  if (key === undefined) throw new Error('nothing runs');
  return { ...worker, questions, key, lock: `${worker.queue.toKey(worker.job.id ?? '')}:lock` };
}

/** What has become of it by now. */
const now = (stopped: Promise<LongshoreError>): Promise<string> =>
  Promise.race([stopped.then(({ code }) => code), nextTurn('goes on')]);

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

test('an order to stop it that comes between its claim and its process is carried out', async () => {
  const claimed = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const { id, fleet, processor, process, stopped } = await makeWorker({
    claims: async () => {
      claimed.resolve();
      await goOn.promise;
    },
  });
  void process();
  await claimed.promise;
  const task_id = (await fleet.store.records.workflow(id))?.steps[0]?.next_task_id ?? '';
  const order = { task_id, number: 1, worker: 'w1', reason: 'paused', grace_seconds: 0 };
  const cancelling = processor.cancel(order);
  goOn.resolve();
  expect(await cancelling).toBe(true);
  expect(await now(stopped)).toBe('E_REVOKED');
});

test('a job whose worker died after it had recorded the success hands over at once', async () => {
  const { id, fleet, queue, process } = await makeWorker({ steps: { one: {}, two: {} } });
  const claim = { workflow_id: id, index: 0, worker: 'dead', host: 'h' };
  const claimed = await fleet.store.records.claim(claim, { max_losses: 3 });
  if (claimed.verdict !== 'run') throw new Error(claimed.verdict);
  await fleet.store.records.finish(claimed.key, { outcome: 'success', result: [7] });
  expect(await queue.getJob(`${id}.1`)).toBeUndefined();
  expect(await process()).toBe(7);
  expect(await queue.getJobState(`${id}.1`)).toBe('prioritized');
});

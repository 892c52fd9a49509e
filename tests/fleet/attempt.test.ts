/** What an attempt is told when it asks whether it may publish. */
import { spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { hostname } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Job, WaitingError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import { keepLocks } from '../../workers/fleet/health/lock-keeping.ts';
import type { Questions } from '../../workers/fleet/isolation/child.ts';
import type { TaskProcesses, WaitingProcess } from '../../workers/fleet/isolation/task-processes.ts';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { createProcessor } from '../../workers/fleet/job/processor.ts';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';
import { standInProcesses } from './stand-in-processes.ts';

const log = createLogger('test', {}, { level: 'fatal' });

/** A worker's side of things for one workflow, whose first job it has been given; its process only asks. */
async function makeWorker({
  steps = { one: {} },
  claims = async () => undefined,
  running,
  waiting = () => null,
}: {
  steps?: Record<string, object>;
  claims?: () => Promise<void>;
  /** What the records say of a process that is named to them; default: their own answer. */
  running?: () => Promise<boolean>;
  waiting?: TaskProcesses['waiting'];
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
  const named: typeof records.running = (...args) => running?.() ?? records.running(...args);
  const told = { ...records, claim: slow, running: named };
  const store = { ...fleet.store, records: told };
  const parts = { config, store, side, log, name: 'w1', host: 'h' };
  const processor = createProcessor(parts, { ...processes, waiting });
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

test('when Redis is back its lock is renewed at once, until its worker has closed', async () => {
  const { lock, redis, processor } = await makeAttempt();
  const connection = new EventEmitter();
  const locks = keepLocks(connection as unknown as Redis, processor, log);
  await redis.del(lock);
  connection.emit('ready');
  await until(async () => (await redis.get(lock)) === 'mine', { what: 'its lock' });
  locks.stop();
  expect(connection.listenerCount('ready')).toBe(0);
});

test('a job that comes to a worker which takes none any more waits for another one at once', async () => {
  const { id, queue, redis, processor, job, process } = await makeWorker();
  processor.refuse(true);
  expect(await process()).toBeInstanceOf(WaitingError);
  expect(await queue.getJobState(`${id}.0`)).toMatch(/waiting|prioritized/);
  expect(await redis.exists(`${queue.toKey(job.id ?? '')}:lock`)).toBe(0);
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

test('it is stopped when the records say that somebody else has its step', async () => {
  const { questions, stopped } = await makeAttempt();
  questions.overtaken();
  expect(await now(stopped)).toBe('E_LEASE_LOST');
});

test.each([
  ['was stopped before it began', async () => false, 'the step was stopped before it began'],
  [
    'cannot be recorded',
    async () => {
      throw new LongshoreError('E_CATALOG_UNAVAILABLE', 'away');
    },
    'the worker could not record this attempt',
  ],
])('a process whose attempt %s is not left behind', async (_, running, reason) => {
  const { process, processor, stopped } = await makeWorker({ running });
  const ended = process();
  expect(await Promise.race([stopped, ended])).toMatchObject({ code: 'E_LEASE_LOST', message: reason });
  await ended;
  expect(processor.running.size).toBe(0);
});

test('what a lost worker left at work is ended before the next attempt begins', async () => {
  const { id, fleet, process: begin, asks } = await makeWorker();
  const orphan = spawn('sleep', ['60'], {
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, LONGSHORE_TASK_WORKER: 'dead' },
  });
  onTestFinished(() => void orphan.kill('SIGKILL'));
  const pid = orphan.pid ?? 0;
  const host = hostname();
  const at = { pid, pgid: pid, hostname: host, code: null };
  const claim = { workflow_id: id, index: 0, worker: 'dead', host, process: at };
  expect((await fleet.store.records.claim(claim, { max_losses: 3 })).verdict).toBe('run');
  void begin();
  await asks;
  expect(membersOf(pid)).toEqual([]);
});

test('a job that has failed is put in again where its step ought to run, and taken out where nobody knows it', async () => {
  const { id, fleet, queue, processor, job } = await makeWorker();
  // As when somebody resumed it before it had ended.
  await job.moveToFailed(new Error('stopped'), 'mine');
  await processor.ended(job);
  expect(await queue.getJobState(`${id}.0`)).toBe('prioritized');
  await fleet.store.records.deleteWorkflow(id);
  await processor.ended(job);
  expect(await queue.getJob(`${id}.0`)).toBeUndefined();
});

test('what it was permitted is free again with its end', async () => {
  const { fleet, questions, processor, redis } = await makeAttempt();
  const { prefix } = fleet.place.config.queue;
  expect(await questions.permit('turn', 1)).toBe(true);
  expect(await redis.exists(`${prefix}:permits:turn`)).toBe(1);
  await processor.stopAll(new LongshoreError('E_WORKER_STOPPED', 'its worker was shut down'), 0);
  await until(() => processor.inHand.size === 0, { what: 'its end' });
  expect(await redis.exists(`${prefix}:permits:turn`)).toBe(0);
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
  let back = 0;
  const chosen = { pid: 1, code: null, putBack: () => (back += 1) } as unknown as WaitingProcess;
  const { id, fleet, queue, process } = await makeWorker({
    steps: { one: {}, two: {} },
    waiting: () => chosen,
  });
  const claim = { workflow_id: id, index: 0, worker: 'dead', host: 'h' };
  const claimed = await fleet.store.records.claim(claim, { max_losses: 3 });
  if (claimed.verdict !== 'run') throw new Error(claimed.verdict);
  await fleet.store.records.finish(claimed.key, { outcome: 'success', result: [7] });
  expect(await queue.getJob(`${id}.1`)).toBeUndefined();
  expect(await process()).toBe(7);
  expect(await queue.getJobState(`${id}.1`)).toBe('prioritized');
  expect(back).toBe(1); // The process that would have had the attempt waits for the next one.
});

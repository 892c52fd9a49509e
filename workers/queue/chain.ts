import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { NextStep, WorkflowDocument } from '../records/contract.ts';
import { placeOf, type Shares } from './fair-share.ts';
import { type JobData, jobId, jobOf, jobOptions } from './jobs.ts';
import type { JobQueue, Queues } from './queues.ts';
import { releaseLock, takeLock } from './token-lock.ts';

/**
 * The queue entry of a workflow, made to agree with its records. Only the step that runs next is in the queue; whoever has
 * recorded that it succeeded puts in the one after it. A flow of all steps would let BullMQ hand over, and cost 9.2 KB of
 * Redis for each waiting workflow of six steps instead of 1.5. A crash in between costs nothing more than a flow did: the
 * job that was not ended is given to another worker, to whom the records say that the step is done.
 *
 * What `ensure(workflow, P)` does, where P is the position that ought to run next:
 *
 * | job of P               | done        |
 * | ---------------------- | ----------- |
 * | missing, or in no list | it is put in |
 * | failed                 | retried     |
 * | anything else          | left alone  |
 */
export interface Chains {
  /**
   * `look` says anew what ought to run. Many may ask at once, and while one waits for its turn the step that it looked at
   * can end; put in again it would take a slot only to find itself done.
   */
  ensure(workflow: WorkflowDocument, position: number, look?: Look): Promise<Ensured>;
  /** Puts in the first step of a workflow that was just recorded. */
  begin(workflow: WorkflowDocument): Promise<void>;
  /**
   * Puts in the step after the one that `data` is about, which is recorded as done; a job that is there already stays as
   * it is. False: its priority was changed while the step before ran, and its turn is to be taken anew (`ensure`).
   */
  handOver(data: JobData, next: NextStep): Promise<boolean>;
  /** A job of P that waits for a later time is due now: a person resumed it and does not want to wait. */
  hurry(workflow: WorkflowDocument, position: number): Promise<void>;
  /** The job of P, if it waits, is queued by the priority that its step has now, and so will be those after it. */
  prioritize(workflow: WorkflowDocument, position: number): Promise<void>;
  /**
   * Takes every job of the workflow out; false when one of them is still held by a worker. `wanted` says so anew when its
   * turn has come: a resume may have put the workflow in again meanwhile.
   */
  remove(workflow: WorkflowDocument, wanted?: () => Promise<boolean>): Promise<boolean>;
  /** Takes out a job whose workflow is not recorded. Nobody may hold it. */
  removeUnrecorded(job: Job<JobData>): Promise<void>;
  /** Which of these look wrong in the queue; one round trip for all. */
  suspects(candidates: readonly { workflow: WorkflowDocument; position: number }[]): Promise<boolean[]>;
}

export type Ensured = 'added' | 'retried' | 'present' | 'not runnable';
/** Null: nothing of the workflow ought to be in the queue. */
export type Look = () => Promise<{ workflow: WorkflowDocument; position: number } | null>;

export function createChains(config: Config, queues: Queues, redis: Redis, shares: Shares): Chains {
  return {
    ensure: (workflow, position, look = async () => ({ workflow, position })) =>
      alone(redis, lockKey(config, workflow.id), () => ensureAsSeen({ queues, shares }, look)),
    begin: (workflow) => put({ queues, shares }, workflow, 0),
    handOver: (data, next) => handOver(queues, data, next),
    hurry: async (workflow, position) => {
      const job = await jobAt(queues, workflow, position);
      if (job === undefined || !(await job.isDelayed())) return;
      await job.promote().catch(async (error: unknown) => {
        // It became due in between: all the better.
        if (await job.isDelayed()) throw error;
      });
    },
    prioritize: (workflow, position) =>
      alone(redis, lockKey(config, workflow.id), () => prioritize({ queues, shares }, workflow, position)),
    remove: (workflow, wanted = async () => true) =>
      alone(redis, lockKey(config, workflow.id), async () => !(await wanted()) || remove(queues, workflow)),
    removeUnrecorded: async (job) => void (await removeUnlessHeld(job)),
    suspects: (candidates) => suspects(queues, redis, candidates),
  };
}

const lockKey = (config: Config, workflow_id: string): string =>
  `${config.queue.prefix}:${config.app_id}:enqueue:${workflow_id}`;

interface Parts {
  queues: Queues;
  shares: Shares;
}

async function ensureAsSeen(parts: Parts, look: Look): Promise<Ensured> {
  for (;;) {
    const seen = await look();
    if (seen === null) return 'not runnable';
    const { workflow, position } = seen;
    // The end of a step is recorded before its job goes: what is missing because it has ended is seen to have ended.
    const still = async (): Promise<boolean> => (await look())?.position === position;
    const done = await ensure(parts, workflow, position, still);
    if (done !== 'moved on') return done;
  }
}

async function ensure(
  parts: Parts,
  workflow: WorkflowDocument,
  position: number,
  still: () => Promise<boolean>,
): Promise<'added' | 'retried' | 'present' | 'moved on'> {
  const { queues } = parts;
  const state = await stateAt(queues, workflow, position);
  if (state === 'failed') return retry(parts, workflow, position);
  if (state !== 'missing' && state !== 'unknown' && state !== 'completed') return 'present';
  if (!(await still())) return 'moved on';
  if (state !== 'missing') await removeAt(queues, workflow, position);
  // One that failed although its step is recorded as done (it could not hand over) is of no more use to anybody.
  if (position > 0) await removeAt(queues, workflow, position - 1);
  await put(parts, workflow, position);
  return 'added';
}

/** A job that is there already stays as it is. One that comes too late finds its step done, and ends. */
async function put({ queues, shares }: Parts, workflow: WorkflowDocument, position: number): Promise<void> {
  const { name, data, opts } = jobOf(workflow, position, await shares.priorities(workflow, position));
  await queueAt(queues, workflow, position).add(name, data, opts);
}

async function handOver(queues: Queues, data: JobData, next: NextStep): Promise<boolean> {
  const [priority, ...later] = data.next ?? [];
  if (priority === undefined || placeOf(priority).priority !== next.priority) return false;
  const job: JobData = { workflow_id: data.workflow_id, index: next.index };
  if (later.length > 0) job.next = later;
  await queues.get(next.queue).add(next.task, job, jobOptions(job, priority));
  return true;
}

/** With a new turn: that of its first start may lie far ahead, as the clock may have begun again since it failed. */
async function retry(
  parts: Parts,
  workflow: WorkflowDocument,
  position: number,
): Promise<'retried' | 'present'> {
  const job = await jobAt(parts.queues, workflow, position);
  if (job === undefined) return 'present';
  await prioritize(parts, workflow, position);
  try {
    await job.retry('failed');
    return 'retried';
  } catch (error) {
    // Somebody else retried it between our look and our call: that is what we wanted.
    if (await job.isFailed()) throw error;
    return 'present';
  }
}

/** The job of P gets the priority of its step, and a new turn. */
async function prioritize(
  { queues, shares }: Parts,
  workflow: WorkflowDocument,
  position: number,
): Promise<void> {
  const job = await jobAt(queues, workflow, position);
  if (job === undefined) return;
  const { data, opts } = jobOf(workflow, position, await shares.priorities(workflow, position));
  try {
    await job.updateData(data);
    await job.changePriority({ priority: opts.priority });
  } catch (error) {
    // One that ended between our look and our call is none of ours any more.
    if ((await jobAt(queues, workflow, position)) !== undefined) throw error;
  }
}

/** Of every step: besides the one that runs next there may be one whose worker died before it had ended it. */
async function remove(queues: Queues, workflow: WorkflowDocument): Promise<boolean> {
  let whole = true;
  for (const index of workflow.steps.keys()) whole = (await removeAt(queues, workflow, index)) && whole;
  return whole;
}

async function removeAt(queues: Queues, workflow: WorkflowDocument, index: number): Promise<boolean> {
  const job = await jobAt(queues, workflow, index);
  return job === undefined || removeUnlessHeld(job);
}

async function removeUnlessHeld(job: Job<JobData>): Promise<boolean> {
  for (let tries = 1; ; tries += 1) {
    try {
      await job.remove();
      return true;
    } catch (error) {
      // "could not be removed because it is locked": a worker has it in hand and settles it.
      if (await job.isActive()) return false;
      // Or it had until just now, and its lock is gone.
      if (tries === 3) throw error;
    }
  }
}

async function stateAt(queues: Queues, workflow: WorkflowDocument, index: number): Promise<string> {
  const job = await jobAt(queues, workflow, index);
  return job === undefined ? 'missing' : job.getState();
}

async function jobAt(
  queues: Queues,
  workflow: WorkflowDocument,
  index: number,
): Promise<Job<JobData> | undefined> {
  // Of a workflow that is so old that nobody knows where it runs there is none.
  if (workflow.steps[index]?.queue === '') return undefined;
  return queueAt(queues, workflow, index).getJob(jobId(workflow.id, index));
}

const queueAt = (queues: Queues, workflow: WorkflowDocument, index: number): JobQueue =>
  queues.get(workflow.steps[index]?.queue ?? '');

/** EXISTS and set lookups only: the full state of a job costs a script call each, and most workflows are fine. */
async function suspects(
  queues: Queues,
  redis: Redis,
  candidates: readonly { workflow: WorkflowDocument; position: number }[],
): Promise<boolean[]> {
  if (candidates.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const { workflow, position } of candidates) {
    const queue = queueAt(queues, workflow, position);
    pipeline.exists(queue.toKey(jobId(workflow.id, position)));
    pipeline.zscore(queue.toKey('failed'), jobId(workflow.id, position));
  }
  const answers = (await pipeline.exec()) ?? [];
  return candidates.map((_, row) => {
    const [exists, failed] = answers.slice(row * 2, row * 2 + 2).map(([error, value]) => {
      if (error !== null) throw error;
      return value;
    });
    return exists === 0 || failed !== null;
  });
}

const LOCK_MS = 10_000;

/**
 * One at a time per workflow, over the fleet: of two who look at the same failed job one would retry it after the other
 * had taken it out. The lock ends by itself if its holder dies.
 */
async function alone<T>(redis: Redis, key: string, body: () => Promise<T>): Promise<T> {
  const token = randomUUID();
  while (!(await takeLock(redis, key, token, LOCK_MS))) await sleep(20);
  try {
    return await body();
  } finally {
    await releaseLock(redis, key, token);
  }
}

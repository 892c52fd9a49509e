import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { WorkflowDocument } from '../records/contract.ts';
import { chainOf, type JobData, jobId } from './flows.ts';
import type { Shares } from './fair-share.ts';
import type { JobQueue, Queues } from './queues.ts';
import { releaseLock, takeLock } from './token-lock.ts';

/**
 * The queue entries of a workflow, made to agree with its records. What `ensure(workflow, P)` does, where P is the
 * position that ought to run next:
 *
 * | job of P                                          | done                                             |
 * | ------------------------------------------------- | ------------------------------------------------ |
 * | missing, or in no list                            | the chain from P on is put in, as one flow        |
 * | failed                                            | retried; its successors still wait for it         |
 * | waits for P-1, which failed (crash: record first) | P-1 is retried; it ends at once and hands over    |
 * | waits for P-1, which is gone                      | chain taken out and put in again                  |
 * | anything else                                     | left alone                                        |
 */
export interface Chains {
  /**
   * `look` says anew what ought to run. Many may ask at once, and while one waits for its turn the step that it looked at
   * can end; put in again it would find itself done, but its successor would be torn out of the hands of a worker.
   */
  ensure(workflow: WorkflowDocument, position: number, look?: Look): Promise<Ensured>;
  /** A job of P that waits for a later time is due now: a person resumed it and does not want to wait. */
  hurry(workflow: WorkflowDocument, position: number): Promise<void>;
  /** Jobs of P and after it are queued by the priorities that their steps have now; answers how many there were. */
  prioritize(workflow: WorkflowDocument, position: number): Promise<number>;
  /** Takes every job of the workflow out; false when one of them is still held by a worker. */
  remove(workflow: WorkflowDocument): Promise<boolean>;
  /** Takes out a job whose workflow is not recorded, and its successors. Nobody may hold it. */
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
    remove: (workflow) => alone(redis, lockKey(config, workflow.id), () => remove(queues, workflow)),
    removeUnrecorded: (job) => removeUnrecorded(config, queues, job),
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
  if (state === 'waiting-children' && position > 0) {
    const before = await stateAt(queues, workflow, position - 1);
    if (before === 'failed') return retry(parts, workflow, position - 1);
    const handedOver = (await stateAt(queues, workflow, position)) !== 'waiting-children';
    if (handedOver || (before !== 'missing' && before !== 'unknown')) return 'present';
    if (!(await still())) return 'moved on';
    await remove(queues, workflow);
    return add(parts, workflow, position);
  }
  if (state === 'failed') return retry(parts, workflow, position);
  if (state !== 'missing' && state !== 'unknown' && state !== 'completed') return 'present';
  if (!(await still())) return 'moved on';
  if (state !== 'missing') await remove(queues, workflow);
  return add(parts, workflow, position);
}

async function add(
  { queues, shares }: Parts,
  workflow: WorkflowDocument,
  position: number,
): Promise<'added'> {
  await queues.flows.add(chainOf(workflow, position, await shares.priorities(workflow, position)));
  return 'added';
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

/** The jobs of P and after it get the priorities of their steps, each a new turn; answers how many there were. */
async function prioritize(
  { queues, shares }: Parts,
  workflow: WorkflowDocument,
  position: number,
): Promise<number> {
  const priorities = await shares.priorities(workflow, position);
  let changed = 0;
  for (const [index, priority] of priorities) {
    const job = await jobAt(queues, workflow, index);
    if (job === undefined) continue;
    // One that ended between our look and our call is none of ours any more.
    await job.changePriority({ priority }).then(
      () => (changed += 1),
      async (error: unknown) => {
        if ((await jobAt(queues, workflow, index)) !== undefined) throw error;
      },
    );
  }
  return changed;
}

async function remove(queues: Queues, workflow: WorkflowDocument): Promise<boolean> {
  let whole = true;
  // From the last step down: a removed child releases its parent, so parents have to go first.
  for (const index of [...workflow.steps.keys()].toReversed()) {
    const job = await jobAt(queues, workflow, index);
    if (job === undefined) continue;
    whole = (await removeUnlessHeld(job)) && whole;
  }
  return whole;
}

/** Without a document the successors are found by the links in the queue. */
async function removeUnrecorded(config: Config, queues: Queues, job: Job<JobData>): Promise<void> {
  const found = [job];
  for (let parent = job.parent; parent?.id !== undefined; ) {
    const queue = queues.get(parent.queueKey.slice(config.queue.prefix.length + 1));
    const next: Job<JobData> | undefined = await queue.getJob(parent.id);
    if (next === undefined) break;
    found.push(next);
    parent = next.parent;
  }
  for (const each of found.toReversed()) await removeUnlessHeld(each);
}

async function removeUnlessHeld(job: Job<JobData>): Promise<boolean> {
  try {
    await job.remove({ removeChildren: false });
    return true;
  } catch (error) {
    // "could not be removed because it is locked": a worker has it in hand and settles it.
    if (await job.isActive()) return false;
    throw error;
  }
}

async function stateAt(queues: Queues, workflow: WorkflowDocument, index: number): Promise<string> {
  const job = await jobAt(queues, workflow, index);
  return job === undefined ? 'missing' : job.getState();
}

function jobAt(queues: Queues, workflow: WorkflowDocument, index: number): Promise<Job<JobData> | undefined> {
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
    const at = queueAt(queues, workflow, position);
    const previous = Math.max(0, position - 1);
    const before = queueAt(queues, workflow, previous);
    pipeline.exists(at.toKey(jobId(workflow.id, position)));
    pipeline.zscore(at.toKey('failed'), jobId(workflow.id, position));
    pipeline.zscore(at.toKey('waiting-children'), jobId(workflow.id, position));
    pipeline.exists(before.toKey(jobId(workflow.id, previous)));
    pipeline.zscore(before.toKey('failed'), jobId(workflow.id, previous));
  }
  const answers = (await pipeline.exec()) ?? [];
  return candidates.map((_, row) => {
    const [exists, failed, waits, beforeExists, beforeFailed] = answers
      .slice(row * 5, row * 5 + 5)
      .map(([error, value]) => {
        if (error !== null) throw error;
        return value;
      });
    return (
      exists === 0 ||
      failed !== null ||
      (waits !== null && waits !== undefined && (beforeExists === 0 || beforeFailed !== null))
    );
  });
}

const LOCK_MS = 10_000;

/**
 * One at a time per workflow, over the fleet. Look-then-add by two processes at once could queue a step again
 * behind its own successor. The lock ends by itself if its holder dies.
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

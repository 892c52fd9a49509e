import { setTimeout as sleep } from 'node:timers/promises';
import { type Job, UnrecoverableError } from 'bullmq';
import { coerceError, type ErrorCode, LongshoreError, reportOf } from '../../errors.ts';
import type { JobData } from '../../queue/jobs.ts';
import type { AttemptKey, Finish, Finished, NextStep, WorkflowInHand } from '../../records/contract.ts';
import { enqueueFollowers } from '../../workflows/followers.ts';
import { enqueue } from '../../workflows/reconcile.ts';
import type { WorkerParts } from './attempt.ts';
import { crashPoint } from './crash-points.ts';
import { lossDelayMs } from './losses.ts';
import { LOOK_AGAIN_MS, putOff } from './put-back.ts';

/** Of a failure that says nothing of the store, and may be one of this outcome. */
const FINISH_TRIES = 30;
/** The store itself is in trouble. A disk is full for a night, and the work of the hours before is done. */
const AWAY: ReadonlySet<ErrorCode> = new Set([
  'E_NO_SPACE',
  'E_CATALOG_UNAVAILABLE',
  'E_MONGODB_UNAVAILABLE',
]);

/** An attempt that has ended, and the job whose lock is still held for it. */
export interface Held {
  job: Job<JobData>;
  token: string;
  key: AttemptKey;
  workflow: WorkflowInHand;
  losses: number;
}

/** Records first, queue second: a crash in between repeats only the second, because a claim then answers `done`. */
export async function conclude(
  parts: WorkerParts,
  held: Held,
  finish: Finish | null,
  again_ms = LOOK_AGAIN_MS,
): Promise<unknown> {
  const { job, token } = held;
  if (finish === null) throw new UnrecoverableError('stopped');
  const recorded = await record(parts, held.key, finish, again_ms);
  if (recorded === null) throw new UnrecoverableError('overtaken');
  if (recorded.instead !== undefined) throw new UnrecoverableError(recorded.instead);
  crashPoint('after-finish');
  switch (finish.outcome) {
    case 'success':
      await handOver(parts, held, recorded.next);
      return finish.result[0] ?? null;
    case 'failure':
      throw new UnrecoverableError(`${finish.error.code}: ${finish.error.message}`);
    case 'retry':
    case 'postponed':
      return putOff(parts, job, token, Date.parse(finish.next_attempt_at));
    case 'lost':
      return putOff(parts, job, token, Date.now() + lossDelayMs(held.losses));
  }
}

/**
 * The work is done: a store that is away must not cost it, however long. The lock is renewed meanwhile, and the slot is of no
 * other use: what this store cannot take is no new claim either.
 */
async function record(
  { store, troubles }: WorkerParts,
  key: AttemptKey,
  finish: Finish,
  again_ms: number,
): Promise<(Finished & { instead?: string }) | null> {
  for (let tries = 1; ; tries += 1) {
    try {
      const finished = await store.records.finish(key, finish);
      troubles.record.over(key.task_id);
      return finished;
    } catch (error) {
      const { code } = coerceError(error);
      if (code === 'E_VALUE') return recordInstead(store, key, finish, error);
      if (tries >= FINISH_TRIES && !AWAY.has(code)) throw error;
      troubles.record.met(error, { task_id: key.task_id }, key.task_id);
      await sleep(again_ms);
    }
  }
}

/** What the records can never take fails the step and says so; else the job would count as lost, again and again. */
async function recordInstead(
  { records }: WorkerParts['store'],
  key: AttemptKey,
  { outcome }: Finish,
  cause: unknown,
) {
  const { message } = coerceError(cause);
  const instead = `the step ended as "${outcome}", which cannot be recorded: ${message.slice(0, 1_000)}`;
  // Without its cause: that may quote all of what is too much.
  const error = reportOf(new LongshoreError('E_VALUE', instead));
  const finished = await records.finish(key, { outcome: 'failure', error });
  return finished === null ? null : { ...finished, instead };
}

/** To the next step, or after the last one to the workflows that follow. */
async function handOver(
  { config, store, side }: WorkerParts,
  { job, workflow }: Pick<Held, 'job' | 'workflow'>,
  next: NextStep | null,
): Promise<void> {
  if (next === null) await enqueueFollowers(config, store.records, side.chains, workflow);
  else if (!(await side.chains.handOver(job.data, next)))
    await enqueue(workflow.id, store.records, side.chains);
  crashPoint('before-complete');
}

/** Its worker died after it had recorded the success: the step after it may wait, be over, or not be queued yet. */
export async function handOverAgain(
  { config, store, side }: WorkerParts,
  { workflow_id, index }: JobData,
): Promise<void> {
  await enqueue(workflow_id, store.records, side.chains);
  const workflow = await store.records.workflow(workflow_id);
  if (workflow !== null && index === workflow.steps.length - 1)
    await enqueueFollowers(config, store.records, side.chains, workflow);
  crashPoint('before-complete');
}

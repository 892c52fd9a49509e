/**
 * One task at a time may write or remove the bundle or the staged copy of a dataset, or its origin. The engine starts no
 * second workflow on a dataset that one works on, but an older one can be resumed beside it, on any host: who comes second
 * would take the first one's half-made files for what a dead attempt left, and both would write to them.
 */
import type { Dataset } from '../dataset/types.ts';
import { type Postponement, postpone, type TaskContext } from './contract.ts';

const AGAIN_MS = 5_000;

/** Null: go on, it is this attempt's turn until it ends. Call it before anything is looked at that another task may change. */
export async function turnTaken(ctx: TaskContext): Promise<Postponement | null> {
  if (await ctx.permit(`dataset:${ctx.dataset_id}:copies`, 1)) return null;
  ctx.log.info({ dataset_id: ctx.dataset_id }, 'another task works on the copies of this dataset');
  return postpone(
    new Date(Date.now() + AGAIN_MS),
    'waits for another task that works on the copies of this dataset',
  );
}

/**
 * True when another workflow has brought the bundle back while this run waited for its turn: reading it once more would
 * bring the same. To be asked when it is this attempt's turn, of a dataset with its states that was read after that.
 */
export function stagedMeanwhile(ctx: TaskContext, { states = [], staged_path }: Dataset): boolean {
  const last = states.find(({ state }) => state === 'FETCHED' || state === 'PURGED' || state === 'ARCHIVED');
  if (staged_path === null || last?.state !== 'FETCHED') return false;
  return last.metadata.workflow_id !== ctx.run.workflow_id && last.timestamp > ctx.run.date_start;
}

/**
 * Removes the staged copy of a dataset with its bundle and every way to it; the archive keeps the dataset. The record is
 * changed last, so that an attempt that was killed is repeated from wherever it was.
 *
 * | kwargs      | meaning                                                                                    |
 * | ----------- | ------------------------------------------------------------------------------------------ |
 * | `force`     | true: also without an archived copy that is there and proven; a pin holds all the same      |
 * | `reason`    | why, for the history                                                                       |
 * | `staged_at` | the last STAGED state that was judged (null: none); nothing is done when there is a newer  |
 */
import { heldCopy } from '../archive/presence.ts';
import { copiesOf } from '../archive/copies.ts';
import { removeStale } from '../content/publish.ts';
import {
  assertStageThere,
  isThere,
  removeAliasFolder,
  removeStagedCopy,
  type StagedCopy,
  stagedCopyOf,
} from '../content/staged-copy.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { pinOf, pinText } from '../dataset/pin.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { defineTask, type TaskContext } from './contract.ts';
import { turnTaken } from './dataset-turn.ts';

export const task = defineTask({
  description:
    'Removes the staged copy, its bundle and its links; the archived bundle must be there and proven.',
  run: async (ctx) => {
    const waiting = await turnTaken(ctx);
    if (waiting !== null) return waiting;
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const copy = stagedCopyOf(ctx.config, dataset);
    const keep = nothingToDo(ctx, dataset, copy);
    if (keep !== null) {
      ctx.log.info({ dataset_id: dataset.id }, keep);
      removeAliasFolder(copy.aliasFolder); // Of an attempt that was killed when all else was done.
      return [dataset.id, { removed: [], note: keep }];
    }
    refusePinned(dataset);
    assertStageThere(dataset, copy);
    await assertArchived(ctx, dataset);
    const removed = await remove(ctx, dataset, copy);
    return [dataset.id, { removed, note: null }];
  },
});

/** Why there is nothing to purge; null when there is. */
function nothingToDo(
  { kwargs }: TaskContext,
  dataset: Dataset,
  { trees, bundle, links }: StagedCopy,
): string | null {
  const left = [...trees, bundle, links.tree].some(isThere);
  if (!dataset.is_staged && dataset.staged_path === null && !left) return 'there is no staged copy';
  if (kwargs.staged_at === undefined) return null;
  const last = dataset.states?.find(({ state }) => state === 'STAGED')?.timestamp ?? null;
  return last === kwargs.staged_at ? null : 'it was staged anew since it was chosen';
}

function refusePinned(dataset: Dataset): void {
  const pin = pinOf(dataset);
  if (pin === null) return;
  throw new LongshoreError(
    'E_WORKFLOW_STATE',
    `the staged copy of dataset ${dataset.id} (${dataset.name}) is pinned ${pinText(pin)}`,
    {
      fields: { dataset_id: dataset.id, pinned: pin },
      hint: `Take the pin away first: longshore unpin ${dataset.id}.`,
    },
  );
}

async function assertArchived(ctx: TaskContext, dataset: Dataset): Promise<void> {
  if (ctx.kwargs.force === true) return;
  const copies = copiesOf(ctx.config, dataset, await ctx.catalog.copies(dataset.id));
  const { archive, key } = await heldCopy(dataset, copies, { signal: ctx.signal });
  ctx.log.info({ archive: archive.name, path: archive.locate(key) }, 'the archive holds it');
}

async function remove(ctx: TaskContext, dataset: Dataset, copy: StagedCopy): Promise<string[]> {
  const reason = typeof ctx.kwargs.reason === 'string' ? ctx.kwargs.reason : 'asked for';
  const forced = ctx.kwargs.force === true;
  const meter = ctx.progress('purge', { total: copy.trees.length + 1, units: 'items' });
  await ctx.lease.assert();
  // Told first: killed in between, the next attempt tells it once more. The other way round nobody would know why it went.
  await ctx.audit('dataset.purge', { name: dataset.name, path: dataset.staged_path, reason, forced });
  // It is this attempt's turn: what lies beside the copy under a temporary name was left by a dead one.
  for (const path of [...copy.trees, copy.bundle, copy.fetched, copy.links.tree, copy.links.bundle])
    await removeStale(path);
  const removed = await removeStagedCopy(copy, () => meter.add(1));
  meter.end();
  await reachState(ctx.catalog, dataset.id, 'PURGED', ctx.run.workflow_id, { reason });
  await ctx.catalog.patch(dataset.id, { is_staged: false, staged_path: null });
  removeAliasFolder(copy.aliasFolder);
  return removed;
}

/** Removes everything Longshore holds of a dataset: archive, staged copy, bundles, QC, links. Not its origin. */
import { dirname } from 'node:path';
import { pathsOf } from '../../config/of.ts';
import { deleteBundle } from '../archive/bundles.ts';
import { manifestKey } from '../archive/contract.ts';
import { archiveNamesOf, openArchive } from '../archive/index.ts';
import { removeStale, removeTree } from '../content/publish.ts';
import {
  isThere,
  removeAliasFolder,
  removeLink,
  removeStagedCopy,
  type StagedCopy,
  stagedCopyThere,
} from '../content/staged-copy.ts';
import { NOT_ARCHIVED, reachState } from '../dataset/lifecycle.ts';
import { aliasFolderOf, assertBelow, generatedBundleOf, qcFolderOf } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { defineTask, type TaskContext } from './contract.ts';
import { turnTaken } from './dataset-turn.ts';
import { assertOwnPlaces } from './deleted-meanwhile.ts';

export const task = defineTask({
  description:
    'Deletes the dataset: archived bundle, staged copy, bundles, QC report and links. The origin stays.',
  run: async (ctx) => {
    const waiting = await turnTaken(ctx);
    if (waiting !== null) return waiting;
    const dataset = await ctx.catalog.get(ctx.dataset_id, { bundle: true });
    // Once it is deleted its name carries the id, and all its places have been emptied: only the state may be missing. One
    // that others marked as deleted while it was archived has its name and its places still.
    if (!dataset.is_deleted || dataset.archive_path !== null) {
      if (dataset.is_deleted) await assertOwnPlaces(ctx, dataset);
      await ctx.lease.assert();
      const local = localOf(ctx, dataset);
      const removed = [...(await removeArchived(ctx, dataset)), ...(await removeLocal(ctx, local))];
      // Told first: killed in between, the next attempt tells it once more. The other way round nobody would know who did it.
      await ctx.audit('dataset.delete', { dataset_id: dataset.id, name: dataset.name, removed });
      await ctx.catalog.patch(dataset.id, {
        name: `${dataset.name}-${dataset.id}`,
        is_deleted: true,
        ...NOT_ARCHIVED,
        is_staged: false,
        staged_path: null,
      });
    }
    await reachState(ctx.catalog, dataset.id, 'DELETED', ctx.run.workflow_id);
    removeAliasFolder(aliasFolderOf(ctx.config, dataset));
    return [dataset.id];
  },
});

/**
 * Every archive that may hold something of it is asked before the first thing goes: an outage is not an absence, and
 * would leave a bundle behind for ever.
 * @throws E_ARCHIVE_UNAVAILABLE
 */
async function removeArchived(ctx: TaskContext, dataset: Dataset): Promise<string[]> {
  const places = await archivedPlaces(ctx, dataset);
  for (const { archive, key } of places) await archive.ensureReachable(key, { signal: ctx.signal });
  const removed: string[] = [];
  for (const { archive, key } of places) {
    const there = (await archive.stat(key, { signal: ctx.signal })) !== null;
    if (!there && key === dataset.archive_path)
      ctx.log.warn({ archive: archive.name, key }, 'the archive has no bundle at the recorded path');
    await deleteBundle(archive, key, { signal: ctx.signal });
    if (there) removed.push(archive.locate(key));
  }
  for (const { archive } of await ctx.catalog.copies(dataset.id))
    await ctx.catalog.removeCopy(dataset.id, archive);
  return removed;
}

/**
 * Recorded copies, and what may be there without a record: an attempt that was killed between a bundle and its record
 * had noted the key.
 */
async function archivedPlaces(ctx: TaskContext, dataset: Dataset) {
  const noted = dataset.metadata.archive_target;
  const keys = [dataset.archive_path, noted].filter((key) => typeof key === 'string');
  const recorded = await ctx.catalog.copies(dataset.id);
  const names = archiveNamesOf(ctx.config, dataset.type);
  const places = new Map(
    [
      ...recorded.map(({ archive, key }) => ({ name: archive, key })),
      ...keys.flatMap((key) => names.map((name) => ({ name, key }))),
    ].map((place) => [JSON.stringify(place), place]),
  );
  return [...places.values()].map(({ name, key }) => ({ archive: openArchive(ctx.config, name), key }));
}

interface LocalParts {
  readonly copy: StagedCopy;
  /** A bundle on its way to an archive elsewhere: only what killed attempts left is there. */
  readonly generated: string;
  readonly qc: string;
}

/** What Longshore keeps of it on disk, checked before the first thing is removed. */
function localOf(ctx: TaskContext, dataset: Dataset): LocalParts {
  const qc = dirname(qcFolderOf(ctx.config, dataset));
  assertBelow(pathsOf(ctx.config, dataset.type).qc, qc, 'the QC folder');
  return {
    copy: stagedCopyThere(ctx.config, dataset),
    generated: generatedBundleOf(ctx.config, dataset),
    qc,
  };
}

async function removeLocal(ctx: TaskContext, { copy, generated, qc }: LocalParts): Promise<string[]> {
  const { trees, bundle, fetched, links } = copy;
  const meter = ctx.progress('delete', { total: trees.length + 2, units: 'items' });
  const removed = removeLink(links.report) ? [links.report] : [];
  // What attempts that were killed have left, while the alias folder that may hold it is still looked for.
  const begun = [...trees, bundle, fetched, links.tree, links.bundle, links.report];
  for (const path of [...begun, generated, manifestKey(generated)]) await removeStale(path);
  removed.push(...(await removeStagedCopy(copy, () => meter.add(1))));
  if (isThere(qc)) removed.push(qc);
  await removeTree(qc);
  meter.add(1);
  meter.end();
  return removed;
}

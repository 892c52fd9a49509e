/** Removes everything Longshore holds of a dataset: archive, staged copy, bundles, QC, links. Not its origin. */
import { lstatSync, readdirSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { pathsOf } from '../../config/index.ts';
import { openArchive } from '../archive/index.ts';
import { removeStale, removeTree } from '../content/publish.ts';
import { reachState } from '../dataset/lifecycle.ts';
import {
  aliasFolderOf,
  assertBelow,
  downloadLinksOf,
  qcFolderOf,
  stagedBundleOf,
  stagedPathOf,
} from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { defineTask, type TaskContext } from './contract.ts';

export const task = defineTask({
  description:
    'Deletes the dataset: archived bundle, staged copy, bundles, QC report and links. The origin stays.',
  run: async (ctx) => {
    const dataset = await ctx.catalog.get(ctx.dataset_id, { bundle: true });
    // Once it is deleted its name carries the id, and all its places have been emptied: only the state may be missing.
    if (!dataset.is_deleted) {
      await ctx.lease.assert();
      const removed = [...(await removeArchived(ctx, dataset)), ...(await removeLocal(ctx, dataset))];
      // Told first: killed in between, the next attempt tells it once more. The other way round nobody would know who did it.
      await ctx.audit('dataset.delete', { dataset_id: dataset.id, name: dataset.name, removed });
      await ctx.catalog.patch(dataset.id, {
        name: `${dataset.name}-${dataset.id}`,
        is_deleted: true,
        is_staged: false,
        archive_path: null,
        staged_path: null,
        metadata: { archive_target: null },
      });
    }
    await reachState(ctx.catalog, dataset.id, 'DELETED', ctx.run.workflow_id);
    return [dataset.id];
  },
});

/** @throws E_ARCHIVE_UNAVAILABLE: an outage is not an absence, and would leave the bundle behind for ever */
async function removeArchived(ctx: TaskContext, dataset: Dataset): Promise<string[]> {
  const archive = openArchive(ctx.config);
  const noted = dataset.metadata.archive_target;
  // What is noted and not recorded: an attempt that was killed between the bundle and its record.
  const keys = new Set([dataset.archive_path, noted].filter((key) => typeof key === 'string'));
  const removed: string[] = [];
  for (const key of keys) {
    await archive.ensureReachable(key);
    const there = (await archive.stat(key)) !== null;
    if (!there && key === dataset.archive_path)
      ctx.log.warn({ key }, 'the archive has no bundle at the recorded path');
    await archive.delete(key);
    if (there) removed.push(key);
  }
  return removed;
}

async function removeLocal(ctx: TaskContext, dataset: Dataset): Promise<string[]> {
  const { config } = ctx;
  const paths = pathsOf(config, dataset.type);
  const links = downloadLinksOf(config, dataset);
  const aliasFolder = aliasFolderOf(config, dataset);
  const tree = stagedPathOf(config, dataset);
  const bundle = stagedBundleOf(config, dataset);
  const qc = dirname(qcFolderOf(config, dataset));
  if (dataset.staged_path !== null) assertBelow(dirname(aliasFolder), dataset.staged_path, 'the staged path');
  assertBelow(paths.qc, qc, 'the QC folder');

  // Links first: nobody should find one that leads nowhere. The bundle's is another dataset's when it leads elsewhere.
  const removed = [links.tree, links.report].filter(removeLinkAt);
  if (linkTarget(links.bundle) === bundle && removeLinkAt(links.bundle)) removed.push(links.bundle);
  const trees = new Set([tree, dataset.staged_path ?? tree, bundle, qc]);
  const meter = ctx.progress('delete', { total: trees.size, units: 'items' });
  for (const path of trees) {
    if (isThere(path)) removed.push(path);
    await removeTree(path);
    meter.add(1);
  }
  for (const path of [tree, bundle, links.tree, links.bundle, links.report]) await removeStale(path);
  removeIfEmpty(aliasFolder);
  meter.end();
  return removed;
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

function linkTarget(path: string): string | null {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : null;
}

function removeLinkAt(path: string): boolean {
  if (linkTarget(path) === null) return false;
  unlinkSync(path);
  return true;
}

function removeIfEmpty(folder: string): void {
  if (isThere(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
}

/** The staged copy of a dataset with its bundle and every way to it, as a purge and a deletion remove them. */
import { lstatSync, readdirSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Config } from '../../config/index.ts';
import { pathsOf } from '../../config/of.ts';
import {
  aliasFolderOf,
  assertBelow,
  type DownloadLinks,
  downloadLinksOf,
  fetchedBundleOf,
  resolved,
  stagedBundleOf,
  stagedPathOf,
} from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { removeTree } from './coreutils.ts';
import { whyAway } from './mounted.ts';

export interface StagedCopy {
  /** Where the staged copies of its type lie. */
  readonly root: string;
  /** Where it ought to be, and where the catalog says it is; nearly always one place. */
  readonly trees: readonly string[];
  readonly bundle: string;
  /** Where a staging fetches a bundle that it does not keep. */
  readonly fetched: string;
  readonly links: DownloadLinks;
  readonly aliasFolder: string;
}

/** @throws E_NAME_UNSAFE when the recorded path leads out of the stage folder, also by way of a link */
export function stagedCopyOf(config: Config, dataset: Dataset): StagedCopy {
  const root = resolved(pathsOf(config, dataset.type).stage);
  const tree = stagedPathOf(config, dataset);
  // By the folder that it really lies in: one on the way may lead elsewhere, or the whole have been moved and linked since it
  // was recorded. A link in its own place is removed as a link.
  const written = dataset.staged_path ?? tree;
  const recorded = join(resolved(dirname(written)), basename(written));
  assertBelow(root, recorded, `the staged path of dataset ${dataset.id},`);
  return {
    root: pathsOf(config, dataset.type).stage,
    trees: [...new Set([recorded, tree])],
    bundle: stagedBundleOf(config, dataset),
    fetched: fetchedBundleOf(config, dataset),
    links: downloadLinksOf(config, dataset),
    aliasFolder: aliasFolderOf(config, dataset),
  };
}

/**
 * A recorded copy of which nothing is found, where nothing of any other is found either: its file system is not mounted, and
 * would bring back for ever what is recorded as removed. @throws E_STAGE_AWAY
 */
export function assertStageThere(
  { id, name, is_staged, staged_path }: Dataset,
  { root, trees, aliasFolder }: StagedCopy,
): void {
  if ((!is_staged && staged_path === null) || [...trees, aliasFolder].some(isThere)) return;
  const away = whyAway(root);
  if (away === null) return;
  throw new LongshoreError('E_STAGE_AWAY', `the staged copy of ${name} is not there, and ${away.message}`, {
    fields: { dataset_id: id, staged_path, path: root },
    hint: `${away.remedy}, then resume.`,
  });
}

/** Of one that is to be removed. @throws E_STAGE_AWAY */
export function stagedCopyThere(config: Config, dataset: Dataset): StagedCopy {
  const copy = stagedCopyOf(config, dataset);
  assertStageThere(dataset, copy);
  return copy;
}

/**
 * Links first, so that nobody finds one that leads nowhere. Missing parts are fine: it may be repeated after a kill.
 * Gives what was there and is gone. The alias folder stays until the removal is recorded: `removeAliasFolder`.
 */
export async function removeStagedCopy(
  { trees, bundle, links }: StagedCopy,
  onRemoved: () => void = () => undefined,
): Promise<string[]> {
  const removed = removeLink(links.tree) ? [links.tree] : [];
  // Names of bundles are shared by what was deleted and what came after it: only the link that leads to ours.
  if (linkTarget(links.bundle) === bundle && removeLink(links.bundle)) removed.push(links.bundle);
  for (const path of [...trees, bundle]) {
    if (isThere(path)) removed.push(path);
    await removeTree(path);
    onRemoved();
  }
  return removed;
}

/** To an attempt that was killed before it recorded the removal this folder tells that the stage folder is the right one. */
export function removeAliasFolder(folder: string): void {
  if (isThere(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
}

/** False when there is no link; a file or folder in its place stays. */
export function removeLink(path: string): boolean {
  if (linkTarget(path) === null) return false;
  unlinkSync(path);
  return true;
}

/** Also of a link that leads nowhere. */
export const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

function linkTarget(path: string): string | null {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : null;
}

/** The staged copy of a dataset with its bundle and every way to it, as a purge and a deletion remove them. */
import { lstatSync, readdirSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../../config/index.ts';
import { pathsOf } from '../../config/of.ts';
import {
  aliasFolderOf,
  assertBelow,
  type DownloadLinks,
  downloadLinksOf,
  resolved,
  stagedBundleOf,
  stagedPathOf,
} from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { removeTree } from './coreutils.ts';

export interface StagedCopy {
  /** Where it ought to be, and where the catalog says it is; nearly always one place. */
  readonly trees: readonly string[];
  readonly bundle: string;
  readonly links: DownloadLinks;
  readonly aliasFolder: string;
}

/** @throws E_NAME_UNSAFE when the recorded path leads out of the stage folder, also by way of a link */
export function stagedCopyOf(config: Config, dataset: Dataset): StagedCopy {
  const root = resolved(pathsOf(config, dataset.type).stage);
  const tree = stagedPathOf(config, dataset);
  const recorded = dataset.staged_path ?? tree;
  assertBelow(root, recorded, `the staged path of dataset ${dataset.id},`);
  // A link in its place is removed as a link; what may not happen is that a folder on the way leads elsewhere.
  const parent = resolved(dirname(recorded));
  if (parent !== root) assertBelow(root, parent, `the folder of the staged path of dataset ${dataset.id},`);
  return {
    trees: [...new Set([recorded, tree])],
    bundle: stagedBundleOf(config, dataset),
    links: downloadLinksOf(config, dataset),
    aliasFolder: aliasFolderOf(config, dataset),
  };
}

/**
 * Links first, so that nobody finds one that leads nowhere. Missing parts are fine: it may be repeated after a kill.
 * Gives what was there and is gone.
 */
export async function removeStagedCopy(
  { trees, bundle, links, aliasFolder }: StagedCopy,
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
  if (isThere(aliasFolder) && readdirSync(aliasFolder).length === 0) rmdirSync(aliasFolder);
  return removed;
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

/**
 * Whether bytes of an upload still arrive. The API does not say: its date moves with the status only, and a slow upload
 * of many hours looks like one that was given up. The upload server writes each file at the top of the upload root, and
 * moves it into the dataset's folder when it is complete.
 */
import { lstatSync, readdirSync, readFileSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { isVanished, walkTree } from '../content/walk.ts';
import { isLongshoreError } from '../errors.ts';
import type { UploadLog } from './contract.ts';
import { MIRROR, STAGED_FILE } from './roots.ts';

/** True when anything of the upload has changed after `since` (milliseconds). */
export function isArriving(log: UploadLog, roots: readonly string[], since: number): boolean {
  return (
    roots.some((root) => isStagedSince(log, root, since)) ||
    roots.some((root) => isYounger(join(root, MIRROR, String(log.dataset_id)), since)) ||
    hasArrivedSince(log.dataset.origin_path, since)
  );
}

/** Only what is young is asked whose it is: a root may hold the leftovers of years. */
function isStagedSince(log: UploadLog, root: string, since: number): boolean {
  return readdirSync(root)
    .filter((name) => STAGED_FILE.test(name))
    .filter((name) => isYounger(join(root, name), since) || isYounger(join(root, `${name}.json`), since))
    .some((name) => name === log.process_id || datasetOf(join(root, `${name}.json`)) === log.dataset_id);
}

/** The dataset that a resumable upload says it belongs to; null when it does not say. */
function datasetOf(about: string): number | null {
  try {
    const { metadata } = JSON.parse(readFileSync(about, 'utf8')) as { metadata?: { dataset_id?: unknown } };
    const id = Number(metadata?.dataset_id);
    return Number.isInteger(id) ? id : null;
  } catch (error) {
    // Not yet, or no longer, or half written: the next look is in a minute.
    if (error instanceof SyntaxError || error instanceof TypeError || isVanished(error)) return null;
    throw error;
  }
}

function hasArrivedSince(origin_path: string | null, since: number): boolean {
  if (origin_path === null || origin_path === '') return false;
  const limit = BigInt(Math.trunc(since)) * 1_000_000n;
  const options = { onVanished: () => undefined, onUnreadable: () => undefined };
  try {
    for (const { mtime_ns, ctime_ns } of walkTree(origin_path, options))
      if (mtime_ns > limit || ctime_ns > limit) return true;
    return false;
  } catch (error) {
    if (isLongshoreError(error) && error.code === 'E_ORIGIN_MISSING') return false;
    throw error;
  }
}

const isYounger = (path: string, since: number): boolean => {
  const stats = look(path);
  return stats !== null && Math.max(stats.mtimeMs, stats.ctimeMs) > since;
};

function look(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (error) {
    if (isVanished(error)) return null;
    throw error;
  }
}

/**
 * What is not found is gone, or lies on a file system that is not mounted. Of that only the mount point is there, which is an
 * empty folder, or not even that: so an absence counts as a removal only where something else is found.
 */
import { join } from 'node:path';
import { namesIn } from './publish.ts';

/** Any name will do; this one is for a person to make in a folder that is mounted and empty all the same. */
const SIGN = '.longshore-mounted';

/** Null: something is in it. */
export function whyAway(folder: string): { message: string; remedy: string } | null {
  if (namesIn(folder).length > 0) return null;
  return {
    message: `${folder} is empty or not there, as when its file system is not mounted`,
    remedy: `Mount it, then resume. If it is mounted, and nothing is left in it: mkdir -p '${folder}' && touch '${join(folder, SIGN)}'.`,
  };
}

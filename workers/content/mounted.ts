/**
 * What is not found is gone, or lies on a file system that is not mounted. Of that only the mount point is there, which is an
 * empty folder, or not even that: so an absence counts as a removal only where something else is found.
 */
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { namesIn } from './publish.ts';

/** Any name will do; this one is for a person to make in a folder that is mounted and empty all the same. */
const SIGN = '.longshore-mounted';

export interface Away {
  readonly message: string;
  readonly remedy: string;
}

/** Null: something is in it. */
export function whyAway(folder: string): Away | null {
  if (namesIn(folder).length > 0) return null;
  return {
    message: `${folder} is empty or not there, as when its file system is not mounted`,
    remedy: `Mount it (or, if it is mounted and nothing is left in it: mkdir -p '${folder}' && touch '${join(folder, SIGN)}')`,
  };
}

/**
 * Why a folder is not the one that this host has written into before: what goes into an empty mount point is hidden by the
 * mount that comes back, and fills another disk. Null: it is the same one, or another that holds something, or a first one,
 * which is made with this mode. Told apart by their inodes, which a remount leaves as they are.
 */
export function whyAnother(state_dir: string, folder: string, mode: number): Away | null {
  const notes = join(state_dir, 'folders');
  const note = join(notes, encodeURIComponent(folder).slice(0, 200));
  const known = textOf(note);
  if (known === null) mkdirSync(folder, { recursive: true, mode });
  const inode = String(statSync(folder, { throwIfNoEntry: false, bigint: true })?.ino);
  if (inode === known) return null;
  const away = known === null ? null : whyAway(folder);
  if (away !== null) return away;
  mkdirSync(notes, { recursive: true });
  writeFileSync(`${note}.${process.pid}`, inode);
  renameSync(`${note}.${process.pid}`, note); // Others read it at this moment.
  return null;
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

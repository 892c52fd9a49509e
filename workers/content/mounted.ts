/**
 * What is not found is gone, or lies on a file system that is not mounted. Of that only the mount point is there, which is an
 * empty folder, or not even that: so an absence counts as a removal only where something else is found.
 */
import { realpathSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isBelow } from '../dataset/paths.ts';
import { textIfThere, writeSmall } from './files.ts';
import { mountOf, readMounts } from './mounts.ts';
import { notePath } from './note-name.ts';
import { namesIn } from './publish.ts';
import { nearestFolder } from './space.ts';
import { makeFolders } from '../folders.ts';

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
 * Why a folder may not be written into: it was on a file system that is not mounted now. What went into the mount point would
 * be hidden by the mount that comes back, and fill the disk below it. Each host remembers the mount that the folder was on;
 * by its place, since a remount may have another number, and a new disk in the same place is as good.
 */
export function whyUnmounted(state_dir: string, folder: string): Away | null {
  const notes = join(state_dir, 'mounts');
  const note = notePath(notes, folder);
  const known = textIfThere(note);
  // Looking at the folder is what makes an automounter mount.
  const point = mountOf(realpathSync.native(nearestFolder(folder)), readMounts())?.point ?? '/';
  if (known === point) return null;
  if (known !== null && isBelow(point, known)) {
    return {
      message: `${folder} was on the file system at ${known}, which is not mounted`,
      remedy: `Mount it (or, if the folder is to lie on the one at ${point} from now on: rm '${note}')`,
    };
  }
  makeFolders(notes);
  const own = `${note}.${process.pid}`;
  try {
    writeSmall(own, point);
    renameSync(own, note); // Others read it at this moment.
  } catch (error) {
    rmSync(own, { force: true });
    throw error;
  }
  return null;
}

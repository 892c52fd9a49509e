/** A disk that loses sectors: a file system in a file, which is cut off behind it. */
import { spawnSync } from 'node:child_process';
import { truncateSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import type { Place } from './place.ts';

export interface BadDisk {
  readonly folder: string;
  /**
   * From now on the end of that file cannot be read (EIO), and what the file system has put behind it; nothing of it is
   * in memory any more. Folders and files below some 300 bytes lie in their inodes, at the beginning of the disk.
   */
  loseEndOf(file: string): void;
}

const BLOCK = 4096;

const does = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: 'ignore' }).status === 0;

/** Null where such a thing cannot be mounted. Gone when the test ends. */
export function badDisk(place: Place, name: string): BadDisk | null {
  if (process.getuid?.() !== 0) return null;
  const image = place.path(`${name}.img`);
  const folder = place.dir(name);
  const mount = (): boolean => does('mount', '-o', 'loop', image, folder);
  if (!does('truncate', '-s', '64M', image)) return null;
  if (!does('mkfs.ext4', '-qF', '-b', String(BLOCK), '-I', '512', '-O', 'inline_data', image)) return null;
  if (!mount()) return null;
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  return {
    folder,
    loseEndOf: (file) => {
      const last = endOf(file);
      if (!does('umount', folder) || !mount()) throw new Error(`${folder} cannot be mounted again`);
      truncateSync(image, last * BLOCK);
    },
  };
}

/** The last block of it on the disk. */
function endOf(file: string): number {
  spawnSync('sync', ['-f', file]);
  const map = spawnSync('filefrag', ['-v', `-b${BLOCK}`, file], { encoding: 'utf8' }).stdout;
  // Extent, logical first and last, physical first and last.
  const extents = [...map.matchAll(/^\s*\d+:\s+\d+\.\.\s*\d+:\s+(\d+)\.\.\s*(\d+):/gm)];
  if (extents.length === 0) throw new Error(`no map of ${file}: ${map}`);
  return Math.max(...extents.map(([, , end]) => Number(end)));
}

/** A disk that loses sectors: a file system in a file, which is cut off behind it. */
import { spawnSync } from 'node:child_process';
import { truncateSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import type { Place } from './place.ts';

export interface BadDisk {
  readonly folder: string;
  /** From now on the end of that file cannot be read (EIO); nothing of it is in memory any more. */
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
  if (!does('mkfs.ext4', '-q', '-F', '-b', String(BLOCK), image) || !mount()) return null;
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  return {
    folder,
    loseEndOf: (file) => {
      const map = spawnSync('filefrag', ['-v', `-b${BLOCK}`, file], { encoding: 'utf8' }).stdout;
      // Extent, logical first and last, physical first and last.
      const extents = [...map.matchAll(/^\s*\d+:\s+\d+\.\.\s*\d+:\s+(\d+)\.\.\s*(\d+):/gm)];
      const last = Math.max(...extents.map(([, , end]) => Number(end)));
      if (!does('umount', folder) || !mount() || extents.length === 0)
        throw new Error(`no map of ${file}: ${map}`);
      truncateSync(image, last * BLOCK);
    },
  };
}

/** A folder with a quota of the kernel's own: free space is shown, and a write is answered with EDQUOT. */
import { spawnSync } from 'node:child_process';
import { onTestFinished } from 'vitest';
import type { Place } from './place.ts';

export interface Quota {
  /** A new limit. */
  limit(size: string): void;
}

export const NO_QUOTA = 'NOT TESTED: needs root and btrfs-progs, to make a folder with a quota';

const does = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: 'ignore' }).status === 0;

/**
 * A subvolume of a btrfs in a file of the place, mounted on `folder`: quotas of users need a file system that the kernels of
 * many test machines have without them. Null where it cannot be made. Gone when the test ends.
 */
export function quotaOn(place: Place, folder: string, size: string): Quota | null {
  if (process.getuid?.() !== 0) return null;
  const image = place.path('quota.img');
  const whole = place.dir('quota');
  if (!does('truncate', '-s', '512M', image) || !does('mkfs.btrfs', '-qf', image)) return null;
  if (!does('mount', '-o', 'loop', image, whole)) return null;
  onTestFinished(() => void spawnSync('umount', ['-l', whole]));
  const volume = `${whole}/limited`;
  if (!does('btrfs', 'quota', 'enable', whole) || !does('btrfs', 'subvolume', 'create', volume)) return null;
  if (!does('mount', '--bind', volume, folder)) return null;
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  const limit = (to: string): void => {
    if (!does('btrfs', 'qgroup', 'limit', to, volume)) throw new Error(`no quota of ${to}`);
  };
  limit(size);
  return { limit };
}

import { spawnSync } from 'node:child_process';
import { onTestFinished } from 'vitest';

/** A tmpfs on that folder until the test ends, or null where mounting is not permitted. */
export function smallFileSystem(folder: string, options: readonly string[]): string | null {
  if (process.getuid?.() !== 0) return null;
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options.join(','), 'tmpfs', folder]).status !== 0) return null;
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  return folder;
}

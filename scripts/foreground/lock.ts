/** Who runs a fleet in the foreground in this checkout: a second pm2 of one PM2_HOME would take over the first and end it. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { takeHostLock } from '../cli/host-lock.ts';

/** One of a host: hosts that share a checkout do not see each other's processes, and do not disturb each other. */
export const lockFileOf = (pm2_home: string): string => join(pm2_home, `foreground-${hostname()}.lock`);

/**
 * Takes the lock for this process and for what it becomes.
 *
 * @returns the number of the process that has it; null when it is ours
 */
export const takeForeground = (pm2_home: string): number | null =>
  takeHostLock(lockFileOf(pm2_home))?.pid ?? null;

/** Who runs a fleet in the foreground in this checkout: a second pm2 of one PM2_HOME would take over the first and end it. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { startOf } from '../../workers/fleet/isolation/process-start.ts';

/** One of a host: hosts that share a checkout do not see each other's processes, and do not disturb each other. */
export const lockFileOf = (pm2_home: string): string => join(pm2_home, `foreground-${hostname()}.lock`);

/**
 * Takes the lock for this process and for what it becomes. It needs no giving back: that of a process that has ended,
 * however it did, holds up nobody.
 *
 * @returns the number of the process that has it; null when it is ours
 */
export function takeForeground(pm2_home: string): number | null {
  const file = lockFileOf(pm2_home);
  const own = `${file}.${process.pid}`;
  mkdirSync(pm2_home, { recursive: true });
  writeFileSync(own, `${process.pid} ${startOf(process.pid)}\n`);
  try {
    for (;;) {
      if (linked(own, file)) return null;
      const holder = holderIn(file);
      if (holder !== null) return holder;
      setAside(file, `${own}.stale`);
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/** The process that holds it and lives; null: nobody does. */
function holderIn(file: string): number | null {
  try {
    const [pid, start] = readFileSync(file, 'utf8').trim().split(' ');
    return start !== undefined && startOf(Number(pid)) === start ? Number(pid) : null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Another one may have set it aside and taken it since we looked: what turns out to be alive is put back. */
function setAside(file: string, aside: string): void {
  try {
    renameSync(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (holderIn(aside) !== null) linked(aside, file);
  rmSync(aside, { force: true });
}

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

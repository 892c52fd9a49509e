/** Who does something on this host, told by a file: it needs no Redis, and nobody has to give it back. */
import { linkSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeSmall } from '../../workers/content/files.ts';
import { startOf } from '../../workers/process-start.ts';
import { makeFolders } from '../../workers/folders.ts';

export interface HostHolder {
  readonly pid: number;
  /** ISO 8601; null: it does not say. */
  readonly since: string | null;
}

/**
 * Takes the lock for this process and for what it becomes. It needs no giving back: that of a process that has ended,
 * however it did, holds up nobody.
 *
 * @param file named after the host: hosts that share a folder do not see each other's processes
 * @returns the process that has it; null when it is ours
 */
export function takeHostLock(file: string): HostHolder | null {
  const own = `${file}.${process.pid}`;
  makeFolders(dirname(file));
  writeSmall(own, `${process.pid} ${startOf(process.pid)} ${new Date().toISOString()}\n`);
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

/** By its holder only, who lives: so nobody else can have taken it. */
export const releaseHostLock = (file: string): void => rmSync(file, { force: true });

/** The process that holds it and lives; null: nobody does. */
function holderIn(file: string): HostHolder | null {
  try {
    const [pid, start, since] = readFileSync(file, 'utf8').trim().split(' ');
    if (start === undefined || startOf(Number(pid)) !== start) return null;
    return { pid: Number(pid), since: since ?? null };
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

import { readFileSync, renameSync, statSync, utimesSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { startOf } from '../process-start.ts';
import { writeSmall } from './files.ts';
import { removeFile } from './publish.ts';

/**
 * A file that says which process works here, so that others leave its things alone and clear away those of the dead.
 * On the same host the kernel tells whether the process lives. Of a process on another host (a folder that both
 * mount) only the file's time tells: it is touched while the claim is held.
 */
export interface Claim {
  readonly path: string;
  release(): void;
}

const TOUCH_MS = 10_000;
/** Clocks of two hosts differ, and a host that swaps is slow; a claim of a dead one merely waits longer. */
const SILENT_MS = 600_000;

interface Note {
  readonly host: string;
  readonly pid: number;
  /** A process id alone may have been given to another process. */
  readonly started: string | null;
}

/** @param path a name that nobody else uses, now or later */
export function makeClaim(path: string): Claim {
  const note: Note = { host: hostname(), pid: process.pid, started: startOf(process.pid) };
  // Renamed into place: who finds it finds it complete.
  const fresh = join(dirname(path), `.claim-${randomUUID()}`);
  try {
    writeSmall(fresh, JSON.stringify(note));
    renameSync(fresh, path);
  } catch (error) {
    removeFile(fresh); // Of a full disk it is the beginning, and nobody else knows its name.
    throw error;
  }
  const timer = setInterval(() => touch(path), TOUCH_MS);
  timer.unref();
  return {
    path,
    release: () => {
      clearInterval(timer);
      removeFile(path);
    },
  };
}

function touch(path: string): void {
  try {
    const now = new Date();
    utimesSync(path, now, now);
  } catch {
    // A mount that is away for a moment: the claim outlives many missed touches, and the work itself says what is wrong.
  }
}

/** False when its process is gone, or there is no such claim. */
export function isClaimed(path: string): boolean {
  try {
    const note = JSON.parse(readFileSync(path, 'utf8')) as Note;
    if (note.host === hostname()) return startOf(note.pid) === note.started;
    return Date.now() - statSync(path).mtimeMs < SILENT_MS;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return false;
    throw error;
  }
}

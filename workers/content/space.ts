import { existsSync, statfsSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import { startOf } from '../process-start.ts';
import { fullFile, resultCode } from '../sqlite/failure.ts';
import { humanBytes } from './human-bytes.ts';

/**
 * Space is promised before bytes move, so that two tasks do not both start on room for one.
 * Promises stand in a small SQLite file of this host (its write lock is what makes look-and-promise one step across
 * processes, also when one is killed in between). A promise whose process is gone does not count. Other hosts on the
 * same file system are not seen: their writes show as less free space, and a full disk is still E_NO_SPACE.
 */
export interface SpaceRequest {
  /** Where the bytes will be written; need not exist yet. */
  readonly folder: string;
  readonly bytes: number;
  /** Must stay free after it all. */
  readonly keep: number;
  readonly state_dir: string;
  /** Who asks, for the refusal of others: the task id. */
  readonly holder: string;
}

export interface Reservation {
  /** So many bytes of it are written: they show as used now, and need no promise any more. */
  spent(bytes: number): void;
  release(): void;
}

const SPENT_EVERY_MS = 1000;

/**
 * @throws E_NO_SPACE with `need`, `available`, `free`, `reserved`, `keep` and `path` in its fields, or where the promise itself
 * cannot be written
 */
export function reserveSpace(request: SpaceRequest): Reservation {
  const file = bookOf(request.state_dir);
  makeFolders(request.state_dir);
  let book: DatabaseSync | null = null;
  try {
    book = openBook(file);
    const id = promise(book, request);
    return reservation(book, id, request.bytes);
  } catch (error) {
    book?.close();
    throw bookFailure(error, file);
  }
}

export interface Space {
  /** The same for folders of one file system. */
  readonly device: string;
  /** What a request made now could be granted; negative where too much is promised. */
  readonly available: number;
  readonly free: number;
  readonly reserved: number;
  readonly keep: number;
}

/** What {@link reserveSpace} would find, without a promise and without a trace. */
export function spaceOn({ folder, keep, state_dir }: Omit<SpaceRequest, 'bytes' | 'holder'>): Space {
  const place = nearestFolder(folder);
  const device = deviceOf(place);
  const reserved = promisedOn(state_dir, device);
  const free = freeOn(place);
  return { device, available: free - reserved - keep, free, reserved, keep };
}

function promisedOn(state_dir: string, device: string): number {
  const file = bookOf(state_dir);
  if (!existsSync(file)) return 0;
  const book = new DatabaseSync(file, { timeout: 10_000, readOnly: true });
  try {
    return promisesOn(book, device)
      .filter(isAlive)
      .reduce((sum, { bytes }) => sum + bytes, 0);
  } finally {
    book.close();
  }
}

const bookOf = (state_dir: string): string => join(state_dir, 'reservations.db');

function openBook(file: string): DatabaseSync {
  const book = new DatabaseSync(file, { timeout: 10_000 });
  try {
    book.exec(`create table if not exists reservation (
      id integer primary key, device text not null, bytes integer not null, holder text not null,
      host text not null, pid integer not null, started text not null)`);
    return book;
  } catch (error) {
    book.close();
    throw error;
  }
}

/** The disk of the state folder may be full while that of the data is not, which is no crash of the task. */
function bookFailure(error: unknown, file: string): unknown {
  if (resultCode(error) === null) return error;
  const full = fullFile(error, file, `the file of promised space ${file}`);
  if (full !== null) return full;
  const { message } = error as Error;
  return new LongshoreError('E_IO', `the file of promised space ${file} cannot be written: ${message}`, {
    fields: { path: file, sqlite: message },
    cause: error,
  });
}

function promise(book: DatabaseSync, request: SpaceRequest): number {
  const folder = nearestFolder(request.folder);
  const device = deviceOf(folder);
  book.exec('begin immediate');
  try {
    const reserved = reservedOn(book, device);
    refuseUnlessFree(request, folder, reserved);
    const added = book
      .prepare(
        'insert into reservation (device, bytes, holder, host, pid, started) values (?, ?, ?, ?, ?, ?)',
      )
      .run(device, request.bytes, request.holder, hostname(), process.pid, startOf(process.pid) ?? '');
    book.exec('commit');
    return Number(added.lastInsertRowid);
  } catch (error) {
    if (book.isTransaction) book.exec('rollback'); // A full disk makes SQLite roll back by itself.
    throw error;
  }
}

/** Sum of the live promises; those of dead processes are struck off. */
function reservedOn(book: DatabaseSync, device: string): number {
  let reserved = 0;
  for (const row of promisesOn(book, device)) {
    if (isAlive(row)) reserved += row.bytes;
    else book.prepare('delete from reservation where id = ?').run(row.id);
  }
  return reserved;
}

interface PromiseRow {
  readonly id: number;
  readonly bytes: number;
  readonly pid: number;
  readonly started: string;
}

const promisesOn = (book: DatabaseSync, device: string): PromiseRow[] =>
  book
    .prepare('select id, bytes, pid, started from reservation where device = ? and host = ?')
    .all(device, hostname()) as unknown as PromiseRow[];

const isAlive = ({ pid, started }: PromiseRow): boolean => startOf(pid) === started;

function refuseUnlessFree(request: SpaceRequest, folder: string, reserved: number): void {
  const free = freeOn(folder);
  const available = free - reserved - request.keep;
  if (request.bytes <= available) return;
  throw new LongshoreError(
    'E_NO_SPACE',
    `${request.folder} has ${humanBytes(Math.max(0, available))} available, but ${humanBytes(request.bytes)} are needed ` +
      `(${humanBytes(free)} free, ${humanBytes(reserved)} promised to other tasks, ${humanBytes(request.keep)} kept free)`,
    {
      fields: { path: request.folder, need: request.bytes, available, free, reserved, keep: request.keep },
    },
  );
}

function reservation(book: DatabaseSync, id: number, bytes: number): Reservation {
  let open = true;
  // By a clock that nobody sets: one that is put back would keep what is written promised as well.
  let written = Number.NEGATIVE_INFINITY;
  return {
    spent: (done) => {
      if (!open || performance.now() - written < SPENT_EVERY_MS) return;
      written = performance.now();
      const left = Math.max(0, Math.round(bytes - done));
      trying(() => book.prepare('update reservation set bytes = ? where id = ?').run(left, id));
    },
    release: () => {
      if (!open) return;
      open = false;
      trying(() => book.prepare('delete from reservation where id = ?').run(id));
      book.close();
    },
  };
}

/** A promise that stays too large goes with this process: no reason to lose what it has done so far. */
function trying(change: () => unknown): void {
  try {
    change();
  } catch (error) {
    if (resultCode(error) === null) throw error;
  }
}

function freeOn(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Tells file systems apart. */
export const deviceOf = (path: string): string => String(statSync(path, { bigint: true }).dev);

/** The folder itself or the nearest one above that exists. */
export function nearestFolder(folder: string): string {
  for (let at = folder; ; at = dirname(at)) {
    if (statSync(at, { throwIfNoEntry: false })?.isDirectory() === true || at === dirname(at)) return at;
  }
}

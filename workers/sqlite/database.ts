/**
 * One SQLite file, shared by every process of a machine.
 *
 * WAL lets readers go on while one process writes; writers take turns by `begin immediate`. A transaction's body is
 * synchronous, so transactions of one connection never interleave. WAL needs memory shared by all who use the file: it
 * must be used from one host only, also when it lies on a network file system. A fleet of several hosts needs another
 * back end.
 *
 * What a failure may cost:
 * - a killed process: nothing that was committed, everything that was not (checked by kill -9 in the tests);
 * - a power cut: with synchronous=NORMAL the file stays whole, but commits of the last moments may be gone, newest
 *   first. Everything here can be done again from what is left (a scan registers again, a step runs again) as long as
 *   nothing irreversible has relied on a lost commit. Transactions that such things rely on (where the archived
 *   bundle is, that it was verified, that a dataset was deleted, that a person paused) are `durable`: they
 *   are synced, with all before them, before their promise resolves. FULL for all would cost an fsync per progress line.
 */
/* oxlint-disable typescript/no-unnecessary-type-parameters -- the columns of a query are known only to its caller */
import { closeSync, existsSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import { isBusy, storeFailure } from './failure.ts';
import { migrate } from './schema.ts';
import { WriteBatch } from './write-batch.ts';

/** Prepared once per connection, found again by their text. */
export interface Statements {
  get<Row>(sql: string, ...values: SQLInputValue[]): Row | undefined;
  all<Row>(sql: string, ...values: SQLInputValue[]): Row[];
  /** Answers how many rows changed, and the row id of the last insert. */
  run(sql: string, ...values: SQLInputValue[]): { changes: number; id: number };
  prepare(sql: string): StatementSync;
}

export interface Database {
  readonly path: string;
  /** Everything that `work` reads belongs to one moment. */
  read<T>(work: (sql: Statements) => T): Promise<T>;
  /** All of `work` or nothing; it may be called again, so it touches nothing but the database. */
  write<T>(work: (sql: Statements) => T, options?: { durable?: boolean }): Promise<T>;
  close(): Promise<void>;
}

/**
 * SQLite's own waiting blocks the event loop, and with it the renewal of leases; so it waits only this long, and
 * longer waits are ours, between turns of the loop.
 */
const BUSY_TIMEOUT_MS = 100;
const PATIENCE_MS = 30_000;

/** `prepare` brings the file to its tables; by default those of catalog and records. */
export async function openDatabase(
  path: string,
  prepare: (connection: DatabaseSync) => void = migrate,
): Promise<Database> {
  makeFolders(dirname(path));
  const connection = await patiently(path, () => connect(path, prepare));
  const sql = statementsOf(connection);
  const transact = <T>(begin: string, work: (sql: Statements) => T): T => {
    connection.exec(begin);
    try {
      const result = work(sql);
      connection.exec('commit');
      return result;
    } catch (error) {
      // A full disk makes SQLite roll back by itself.
      if (connection.isTransaction) connection.exec('rollback');
      throw error;
    }
  };
  const writes = new WriteBatch<Statements>((works, durable) =>
    patiently(path, () => {
      if (!durable) return transact('begin immediate', () => works.map((work) => work(sql)));
      connection.exec('pragma synchronous = full');
      try {
        return transact('begin immediate', () => works.map((work) => work(sql)));
      } finally {
        connection.exec('pragma synchronous = normal');
      }
    }),
  );
  return {
    path,
    read: (work) => patiently(path, () => transact('begin', work)),
    write: (work, options = {}) => writes.add(work, options.durable ?? false),
    close: async () => {
      await writes.settled();
      if (connection.isOpen) connection.close();
    },
  };
}

/**
 * SQLite would let everybody read it, and it holds the names under which staged copies lie, which nobody may guess. What
 * the group may is for the umask to say; the files beside it (`-wal`, `-shm`) get the same rights. One that is there
 * keeps its own.
 */
function makeClosed(path: string): void {
  // SQLite's own name for a database without a file; `requireWal` refuses it.
  if (path === ':memory:' || existsSync(path)) return;
  try {
    closeSync(openSync(path, 'a', 0o660));
  } catch {
    // SQLite will say what is wrong.
  }
}

function connect(path: string, prepare: (connection: DatabaseSync) => void): DatabaseSync {
  makeClosed(path);
  const connection = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: true });
  try {
    requireWal(connection, path);
    connection.exec('pragma synchronous = normal');
    connection.exec('pragma journal_size_limit = 67108864');
    // In pages of 4 KiB. With the usual 1,000 the same pages were copied and synced every hundred steps.
    connection.exec('pragma wal_autocheckpoint = 8000');
    prepare(connection);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** SQLite answers with the mode it could get instead of failing: file systems without shared memory have no WAL. */
function requireWal(connection: DatabaseSync, path: string): void {
  const answer = connection.prepare('pragma journal_mode = wal').get() as { journal_mode: string };
  if (answer.journal_mode === 'wal') return;
  throw new LongshoreError(
    'E_CATALOG_UNAVAILABLE',
    `the file system of ${path} cannot share a catalog file between processes (journal mode ${answer.journal_mode}, expected wal)`,
    {
      class: 'operator',
      hint: 'Point config.catalog.path to a local disk.',
      fields: { path, journal_mode: answer.journal_mode },
    },
  );
}

function statementsOf(connection: DatabaseSync): Statements {
  const cache = new Map<string, StatementSync>();
  const prepare = (text: string): StatementSync => {
    const known = cache.get(text);
    if (known !== undefined) return known;
    const made = connection.prepare(text);
    cache.set(text, made);
    return made;
  };
  return {
    prepare,
    get: <Row>(text: string, ...values: SQLInputValue[]) => prepare(text).get(...values) as Row | undefined,
    all: <Row>(text: string, ...values: SQLInputValue[]) => prepare(text).all(...values) as Row[],
    run: (text, ...values) => {
      const { changes, lastInsertRowid } = prepare(text).run(...values);
      return { changes: Number(changes), id: Number(lastInsertRowid) };
    },
  };
}

/** Repeats while others are in the way; the pauses are random, so that equals do not march in step. */
async function patiently<T>(path: string, once: () => T): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (let turn = 0; ; turn++) {
    try {
      return once();
    } catch (error) {
      if (!isBusy(error) || Date.now() > deadline) throw storeFailure(error, path);
      await sleep(Math.random() * Math.min(2 ** turn, 64));
    }
  }
}

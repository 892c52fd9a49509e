import { existsSync, statSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { DatabaseSync } from 'node:sqlite';
import { type Config, usesSqlite } from '../../config/index.ts';
import { SCHEMA_VERSION } from '../../workers/sqlite/schema.ts';
import { bytes, duration } from '../cli/format.ts';
import { type Finding, finding, ok, problem } from './finding.ts';
import { mongodbFindings } from './mongodb.ts';

/** Commands and workers wait longer than this before they give up, and say so. */
const WRITE_LOCK_MS = 5_000;
const SLOW_MS = 500;
/** Twice what SQLite keeps between checkpoints: some reader holds it up. */
const LONG_WAL_BYTES = 128 * 1024 ** 2;

/** Opened by hand: the store's own way of opening would bring an old file to the newest version. */
export async function* catalogFindings(config: Config): AsyncGenerator<Finding> {
  if (!usesSqlite(config)) {
    if (config.records.backend === 'mongodb') yield* mongodbFindings(config);
    return;
  }
  const { path } = config.catalog;
  const expected = 'a file of Longshore that opens';
  if (!existsSync(path)) {
    yield ok('catalog.opens', { seen: `${path} is not there yet; the first start makes it`, expected });
    return;
  }
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(path, { timeout: WRITE_LOCK_MS });
    database.prepare('select count(*) from sqlite_schema').get();
  } catch (error) {
    yield problem('catalog.opens', {
      seen: `${path}: ${(error as Error).message}`,
      expected,
      remedy:
        'Check catalog.path, its folder and its permissions; a damaged file is restored from the backup.',
    });
    return;
  }
  try {
    yield ok('catalog.opens', { seen: `${path}, ${bytes(statSync(path).size)}`, expected });
    yield judgeSchema(pragma(database, 'user_version') as number);
    yield judgeWal(String(pragma(database, 'journal_mode')), walSize(path));
    yield roundTrip(database);
  } finally {
    database.close();
  }
}

const pragma = (database: DatabaseSync, name: string): unknown =>
  Object.values(database.prepare(`pragma ${name}`).get() ?? {})[0];

const walSize = (path: string): number => statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;

export function judgeSchema(version: number): Finding {
  const level = version > SCHEMA_VERSION ? 'problem' : version < SCHEMA_VERSION ? 'warning' : 'ok';
  return finding(level, 'catalog.schema', {
    seen: `version ${version}`,
    expected: `version ${SCHEMA_VERSION}, that of this release`,
    remedy:
      version > SCHEMA_VERSION
        ? 'Run the release that wrote this file, or a newer one.'
        : 'The next start brings the file to this version; make a backup before.',
  });
}

export function judgeWal(mode: string, size: number): Finding {
  if (mode !== 'wal')
    return finding('warning', 'catalog.wal', {
      seen: `journal mode ${mode}`,
      expected: 'wal',
      remedy: 'The next start switches to wal; if it cannot, put catalog.path on a local disk.',
    });
  return finding(size > LONG_WAL_BYTES ? 'warning' : 'ok', 'catalog.wal', {
    seen: `wal, ${bytes(size)} not yet in the file`,
    expected: `wal of at most ${bytes(LONG_WAL_BYTES)}`,
    remedy: 'Some process reads without end and keeps the log from being taken over; restart the workers.',
  });
}

/** Begins to write as everybody does, and takes it back. */
function roundTrip(database: DatabaseSync): Finding {
  const expected = `the write lock within ${SLOW_MS} ms`;
  const begun = performance.now();
  try {
    database.exec('begin immediate');
    database.exec('create table longshore_doctor (one integer)');
    database.exec('rollback');
  } catch (error) {
    return problem('catalog.round_trip', {
      seen: (error as Error).message,
      expected,
      remedy: 'Find who holds the file (fuser on it), and whether its folder can be written by this user.',
    });
  }
  const took = performance.now() - begun;
  return finding(took > SLOW_MS ? 'warning' : 'ok', 'catalog.round_trip', {
    seen: `a write in ${duration(took / 1000)}`,
    expected,
    remedy: 'Something writes for long, or the disk is slow; look at longshore status and at the disk.',
  });
}

/** Reads the whole file: an area of its own, whose time may run out without a harm to the others. */
export async function* integrityFindings(config: Config): AsyncGenerator<Finding> {
  const { path } = config.catalog;
  if (!usesSqlite(config) || !existsSync(path)) return;
  const begun = performance.now();
  const expected = 'quick_check says ok';
  try {
    const database = new DatabaseSync(path, { readOnly: true, timeout: WRITE_LOCK_MS });
    const said = database
      .prepare('pragma quick_check(5)')
      .all()
      .map((row) => String(Object.values(row)[0]));
    database.close();
    yield finding(said.join() === 'ok' ? 'ok' : 'problem', 'catalog.integrity', {
      seen: `${said.join('; ')}, in ${duration((performance.now() - begun) / 1000)}`,
      expected,
      remedy: DAMAGED,
    });
  } catch (error) {
    yield problem('catalog.integrity', { seen: (error as Error).message, expected, remedy: DAMAGED });
  }
}

const DAMAGED =
  'Stop the workers, keep the file, and restore the backup (docs/operations.md); `sqlite3 FILE .recover` saves what it can.';

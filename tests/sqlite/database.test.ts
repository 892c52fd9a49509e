import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test } from 'vitest';
import { type Database, openDatabase } from '../../workers/sqlite/database.ts';
import { VERSIONS } from '../../workers/sqlite/schema.ts';
import { openStore } from '../../workers/store.ts';
import { startProcess } from '../records/fixture.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

async function openHere(): Promise<Database> {
  const place = await makePlace();
  const database = await openDatabase(place.config.catalog.path);
  onTestFinished(() => database.close());
  return database;
}

/** The file as an outsider sees it. */
function outsider(path: string): DatabaseSync {
  mkdirSync(dirname(path), { recursive: true });
  const connection = new DatabaseSync(path);
  onTestFinished(() => {
    if (connection.isOpen) connection.close();
  });
  return connection;
}

test('six processes that open a new file at once all find its tables, made once', async () => {
  const place = await makePlace();
  const openers = Array.from({ length: 6 }, (_, n) => startProcess(place, 'register', '1', `w${n}`));
  expect(await Promise.all(openers.map(({ ended }) => ended))).toEqual([0, 0, 0, 0, 0, 0]);
  const file = outsider(place.config.catalog.path);
  expect(file.prepare('pragma user_version').get()).toMatchObject({ user_version: 5 });
  expect(file.prepare('pragma journal_mode').get()).toMatchObject({ journal_mode: 'wal' });
  expect(file.prepare('pragma integrity_check').get()).toMatchObject({ integrity_check: 'ok' });
  expect(file.prepare('select count(*) as count from datasets').get()).toMatchObject({ count: 1 });
});

test('a new file is closed to other users, with all that SQLite keeps beside it', async () => {
  const { path } = await openHere();
  for (const file of [path, `${path}-wal`, `${path}-shm`]) expect(statSync(file).mode & 0o007, file).toBe(0);
});

test('the file of a newer Longshore is refused and left as it is', async () => {
  const { config } = await makePlace();
  const file = outsider(config.catalog.path);
  file.exec('pragma user_version = 99');
  await expect(openStore(config)).rejects.toMatchObject({
    code: 'E_OUTDATED',
    class: 'operator',
    message: expect.stringContaining('version 99'),
  });
  expect(file.prepare('select count(*) as count from sqlite_schema').get()).toMatchObject({ count: 0 });
});

test('a migration that is killed in the middle has changed nothing, and the next process does it', async () => {
  const place = await makePlace();
  const { path } = place.config.catalog;
  const old = outsider(path);
  old.exec(`pragma journal_mode = wal; ${VERSIONS[0]} pragma user_version = 1;`);
  // Enough for the new index to be written in parts, long before the end of the transaction.
  old.exec(`with recursive n (i) as (select 1 union all select i + 1 from n where i < 150000)
    insert into datasets (name, type, origin_path, created_at, updated_at)
    select 'A dataset with a name that takes some room ' || i, 'RAW_DATA', '/' || i, '', '' from n`);
  old.close();
  const seen = () => {
    const file = outsider(path);
    const found = file
      .prepare(
        `select (select user_version from pragma_user_version) as version, count(*) as datasets, sum(length(name)) as bytes,
           (select count(*) from sqlite_schema where name in ('datasets_name', 'copies', 'attempts_open')) as made,
           (select group_concat(integrity_check) from pragma_integrity_check) as integrity from datasets`,
      )
      .get();
    file.close(); // The last one to close it clears away what the killed process had written beside it.
    return { ...found };
  };
  const before = { version: 1, datasets: 150_000, bytes: expect.any(Number), made: 0, integrity: 'ok' };
  expect(seen()).toEqual(before);
  const kept = place.path('as-it-was.db');
  copyFileSync(path, kept);
  // On a busy machine it may be done before it is killed: then once more.
  for (const bytes of [1, 1_000_000, 4_000_000])
    await until(async () => {
      const { child, ended } = startProcess(place, 'register', '1', 'killed');
      await until(() => (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) >= bytes, {
        every_ms: 1,
      });
      child.kill('SIGKILL');
      await ended;
      const after = seen();
      if (after.version === 1) expect(after).toEqual(before);
      else copyFileSync(kept, path);
      return after.version === 1;
    });
  expect(await startProcess(place, 'register', '1', 'whole').ended).toBe(0);
  expect(seen()).toMatchObject({ version: VERSIONS.length, datasets: 150_001, made: 3, integrity: 'ok' });
});

test('a file that is no database is named, with what to do', async () => {
  const { config } = await makePlace();
  mkdirSync(dirname(config.catalog.path), { recursive: true });
  writeFileSync(config.catalog.path, 'this is a text of more than one hundred bytes '.repeat(20));
  await expect(openStore(config)).rejects.toMatchObject({
    code: 'E_CATALOG_UNAVAILABLE',
    class: 'operator',
    fields: { path: config.catalog.path },
  });
});

test('a file that cannot be shared between processes is refused', async () => {
  await expect(openDatabase(':memory:')).rejects.toMatchObject({
    code: 'E_CATALOG_UNAVAILABLE',
    class: 'operator',
    fields: { journal_mode: 'memory' },
  });
  expect(existsSync(':memory:')).toBe(false);
});

test('a body that throws leaves nothing behind, and the next one works', async () => {
  const database = await openHere();
  const insert = "insert into notes (key, value) values ('k', '1')";
  await expect(
    database.write((sql) => {
      sql.run(insert);
      throw new Error('half-way');
    }),
  ).rejects.toThrow('half-way');
  expect(await database.read((sql) => sql.all('select * from notes'))).toEqual([]);
  await database.write((sql) => sql.run(insert));
  expect(await database.read((sql) => sql.all('select * from notes'))).toHaveLength(1);
});

test('a writer that has to wait does not stop the clock of its process', async () => {
  const database = await openHere();
  const other = outsider(database.path);
  other.exec('begin immediate');
  let ticks = 0;
  let released = 0;
  const ticker = setInterval(() => {
    ticks++;
    if (ticks < 6) return;
    clearInterval(ticker);
    other.exec('commit');
    released = performance.now();
  }, 20);
  await database.write((sql) => sql.run("insert into notes (key, value) values ('k', '1')"));
  expect(ticks).toBe(6);
  expect(performance.now()).toBeGreaterThanOrEqual(released);
});

test('readers go on while a writer holds its transaction, and see what was there before', async () => {
  const database = await openHere();
  const other = outsider(database.path);
  other.exec("begin immediate; insert into notes (key, value) values ('k', '1')");
  expect(await database.read((sql) => sql.all('select * from notes'))).toEqual([]);
  other.exec('commit');
  expect(await database.read((sql) => sql.all('select * from notes'))).toHaveLength(1);
});

test('a durable transaction is synced, others are not, and the setting goes back also after an error', async () => {
  const database = await openHere();
  const FULL = 2;
  const NORMAL = 1;
  const synchronous = (durable: boolean, error?: Error): Promise<unknown> =>
    database.write(
      (sql) => {
        if (error !== undefined) throw error;
        return sql.get<{ synchronous: number }>('pragma synchronous')?.synchronous;
      },
      { durable },
    );
  expect(await synchronous(true)).toBe(FULL);
  expect(await synchronous(false)).toBe(NORMAL);
  await expect(synchronous(true, new Error('x'))).rejects.toThrow('x');
  expect(await synchronous(false)).toBe(NORMAL);
});

test('a full disk is told as such, keeps what was there, and is got over', async () => {
  const database = await openHere();
  const pages = (limit: number): Promise<unknown> =>
    database.read((sql) => sql.get(`pragma max_page_count = ${limit}`));
  const fill = (): Promise<unknown> =>
    database.write((sql) =>
      sql.run("insert into notes (key, value) values ('big', ?)", 'x'.repeat(1_000_000)),
    );
  await pages(1); // The smallest that SQLite takes is what the file has.
  await expect(fill()).rejects.toMatchObject({ code: 'E_NO_SPACE', fields: { path: database.path } });
  expect(await database.read((sql) => sql.all('select * from notes'))).toEqual([]);
  await pages(1_000_000);
  await fill();
  expect(await database.read((sql) => sql.all('select key from notes'))).toHaveLength(1);
});

test('a file of version 1 gets the tables of copies and proofs, and keeps its rows', async () => {
  const { config } = await makePlace();
  const before = outsider(config.catalog.path);
  const first = readFileSync(join(import.meta.dirname, '../fixtures/catalog-version-1.sql'), 'utf8');
  before.exec(first);
  const tables = ['datasets', 'bundles', 'files', 'workflows', 'runs', 'audit'];
  const rowsOf = (file: DatabaseSync) =>
    Object.fromEntries(tables.map((table) => [table, file.prepare(`select * from ${table}`).all()]));
  const rows = rowsOf(before);
  expect(Object.values(rows).map((of) => of.length)).toEqual([2, 1, 2, 1, 1, 1]);
  before.close();
  const store = await openStore(config);
  const after = outsider(config.catalog.path);
  const { user_version } = after.prepare('pragma user_version').get() as { user_version: number };
  expect(user_version).toBeGreaterThan(1);
  expect(rowsOf(after)).toMatchObject(rows); // Later versions add columns, and lose no row and no value.
  expect(after.prepare('pragma integrity_check').get()).toEqual({ integrity_check: 'ok' });
  const dataset = await store.catalog.get(1, { bundle: true });
  expect(dataset).toMatchObject({ name: 'run_A', bundle: { md5: 'c0ffee' } });
  expect(await store.catalog.withoutCopies(10)).toEqual([1]);
  const stored_at = '2026-01-01T00:00:00.000Z';
  await store.catalog.putCopy(1, { archive: 'disk', key: '/k', size: 1, digests: {}, stored_at });
  expect(await store.catalog.copies(1)).toHaveLength(1);
  expect(after.prepare('select code from attempts').all()).toEqual([]);
  await store.close();
});

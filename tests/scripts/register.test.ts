import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

/** A folder with subfolders, as a person has it. */
async function setUp(subfolders: readonly string[] = [], overrides: Record<string, unknown> = {}) {
  const place = await makePlace(overrides);
  const folder = place.dir('lab data');
  for (const name of subfolders) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'a file'), 'ignored');
  const register = (...args: string[]) => runScript('register.ts', [folder, ...args], place.env);
  const read = async () => {
    const store = await openStore(place.config);
    try {
      const { datasets } = await store.catalog.list({});
      const { results } = await store.records.listWorkflows({ limit: 1000 });
      return {
        datasets: datasets.toSorted((a, b) => a.id - b.id),
        workflows: results.map(({ workflow }) => workflow),
      };
    } finally {
      await store.close();
    }
  };
  const names = async () => (await read()).datasets.map(({ name }) => name).sort();
  return { place, folder, register, read, names };
}

/** Every row of every table, as text. */
function content(path: string): string {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const tables = database
      .prepare(`select name from sqlite_master where type = 'table' order by name`)
      .all();
    return JSON.stringify(
      tables.map(({ name }) => [name, database.prepare(`select * from "${String(name)}"`).all()]),
    );
  } finally {
    database.close();
  }
}

const RAW = ['--dataset-type', 'RAW_DATA'];

describe('the nine cases of the reference', () => {
  test('1: with --ingest-subdirs the subfolders are registered and the folder is not', async () => {
    const { folder, register, read } = await setUp(['one', 'two']);
    expect((await register(...RAW, '--ingest-subdirs')).code).toBe(0);
    const { datasets, workflows } = await read();
    expect(datasets.map(({ origin_path }) => origin_path)).toEqual([
      join(folder, 'one'),
      join(folder, 'two'),
    ]);
    expect(datasets.map(({ create_method }) => create_method)).toEqual(['ON_DEMAND', 'ON_DEMAND']);
    expect(workflows.map(({ name, dataset_id }) => `${name} ${dataset_id}`).sort()).toEqual([
      'integrated 1',
      'integrated 2',
    ]);
  });

  test('2: without it the folder is registered and its subfolders are not', async () => {
    const { folder, register, read } = await setUp(['one', 'two']);
    expect((await register(...RAW)).code).toBe(0);
    expect((await read()).datasets.map(({ origin_path }) => origin_path)).toEqual([folder]);
  });

  test('3: a missing type ends with code 2 and registers nothing', async () => {
    const { place, register } = await setUp();
    expect(await register()).toMatchObject({ code: 2, stderr: expect.stringContaining('--dataset-type') });
    expect(existsSync(place.config.catalog.path)).toBe(false);
  });

  test('4: the project is kept with the dataset', async () => {
    const { register, read } = await setUp();
    expect((await register(...RAW, '--project-id', 'proj-7')).code).toBe(0);
    expect((await read()).datasets[0]?.metadata).toMatchObject({ project_id: 'proj-7' });
  });

  test.each([
    ['5: a prefix stands before the name', ['--prefix', 'PRE'], 'PRE-lab-data'],
    ['6: a suffix stands after it', ['--suffix', 'SUF'], 'lab-data-SUF'],
    ['7: both', ['--prefix', 'PRE', '--suffix', 'SUF'], 'PRE-lab-data-SUF'],
  ])('%s', async (_, args, name) => {
    const { register, names } = await setUp();
    expect((await register(...RAW, ...args)).code).toBe(0);
    expect(await names()).toEqual([name]);
  });

  test('8: the description is kept', async () => {
    const { register, read } = await setUp();
    await register(...RAW, '--description', 'two words');
    expect((await read()).datasets[0]?.description).toBe('two words');
  });

  test('9: what is there already is skipped, the others are registered, and none gets a second workflow', async () => {
    const { folder, register, read } = await setUp(['one', 'two']);
    await register(...RAW, '--ingest-subdirs');
    mkdirSync(join(folder, 'three'));
    const again = await register(...RAW, '--ingest-subdirs', '--json');
    const { datasets } = JSON.parse(again.stdout) as { datasets: { name: string; outcome: string }[] };
    expect(datasets.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual([
      'one present',
      'three created',
      'two present',
    ]);
    expect(again.code).toBe(0);
    const found = await read();
    expect(found.datasets).toHaveLength(3);
    expect(found.workflows).toHaveLength(3);
  });
});

describe('registering by hand', () => {
  test('a dry run leaves every table as it was, writes no log, and makes no catalog where there is none', async () => {
    const { place, folder, register } = await setUp(['one', 'b b', 'b-b']);
    const first = await register(...RAW, '--ingest-subdirs', '--dry-run', '--json');
    expect(existsSync(place.config.catalog.path)).toBe(false);
    expect(JSON.parse(first.stdout)).toMatchObject({
      dry_run: true,
      datasets: [{ outcome: 'would create' }, { outcome: 'taken' }, { outcome: 'would create' }],
    });
    await register(...RAW);
    const before = content(place.config.catalog.path);
    const logs = readdirSync(place.config.logs.register_ondemand);
    mkdirSync(join(folder, 'more'));
    const second = await register('--dry_run=True', ...RAW, '--ingest-subdirs');
    expect(second.stdout).toContain('nothing was changed');
    expect(content(place.config.catalog.path)).toBe(before);
    expect(readdirSync(place.config.logs.register_ondemand)).toEqual(logs);
  });

  test('250 folders are all registered, each with a workflow', async () => {
    const { register, read } = await setUp(Array.from({ length: 250 }, (_, at) => `run ${at}`));
    const done = await register(...RAW, '--ingest-subdirs');
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('250 created') });
    const { datasets, workflows } = await read();
    expect(datasets).toHaveLength(250);
    expect(new Set(workflows.map(({ dataset_id }) => dataset_id)).size).toBe(250);
  });

  test('a name that belongs to another folder is refused with code 4 and what to do', async () => {
    const { folder, register, read } = await setUp(['run 1', 'run-1']);
    const done = await register(...RAW, '--ingest-subdirs');
    expect(done).toMatchObject({ code: 4, stdout: expect.stringContaining('--prefix or --suffix') });
    expect((await read()).datasets).toHaveLength(1);
    mkdirSync(join(folder, 'RUN-1')); // Another name.
    const { stdout } = await register(...RAW, '--ingest-subdirs', '--dry-run', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ datasets: [{ outcome: 'would create' }, {}, {}] });
  });

  test('a folder that is given by a link is registered where it lies', async () => {
    const { place, folder, read } = await setUp(['one']);
    symlinkSync(folder, place.path('link'));
    const { code } = await runScript('register.ts', [place.path('link'), ...RAW], place.env);
    expect(code).toBe(0);
    expect((await read()).datasets).toMatchObject([{ name: 'link', origin_path: folder }]);
  });

  test('every problem of the arguments is told at once, with code 2', async () => {
    const { place } = await setUp();
    const args = [place.path('absent'), '--dataset-type', 'RAW', '--project-id', 'a b'];
    const { code, stderr } = await runScript('register.ts', [...args, '--workflow', 'nosuch'], place.env);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /E_USAGE.*"RAW".*RAW_DATA, DATA_PRODUCT.*"a b".*"nosuch".*integrated.*absent cannot be read/,
    );
  });

  test('a level of the log that there is not is refused, in whatever case the others are written', async () => {
    const { register, names } = await setUp();
    expect(await register(...RAW, '--log-level', 'LOUD')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('DEBUG, INFO, WARNING, ERROR, CRITICAL'),
    });
    expect(await names()).toEqual([]);
    expect((await register(...RAW, '--log-level', 'warning')).code).toBe(0);
  });

  test('a file, or a folder without subfolders where they are asked for, is refused', async () => {
    const { place, folder, register } = await setUp();
    expect(await register(...RAW, '--ingest-subdirs')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('no subfolders'),
    });
    const file = await runScript('register.ts', [join(folder, 'a file'), ...RAW], place.env);
    expect(file).toMatchObject({ code: 2, stderr: expect.stringContaining('not a folder') });
  });

  test('a subfolder that cannot be registered is a failed row; the others are registered, with code 1', async () => {
    const { folder, register, names } = await setUp(['one', 'two']);
    mkdirSync(Buffer.concat([Buffer.from(`${folder}/caf`), Buffer.from([0xe9])]));
    const done = await register(...RAW, '--ingest-subdirs', '--json');
    expect(done.code).toBe(1);
    const { datasets } = JSON.parse(done.stdout) as { datasets: { outcome: string; note: string }[] };
    expect(datasets.map(({ outcome }) => outcome)).toEqual(['failed', 'created', 'created']);
    expect(datasets[0]?.note).toContain('E_NAME_UNSAFE');
    expect(await names()).toEqual(['one', 'two']);
    const again = await register(...RAW, '--ingest-subdirs');
    expect(again).toMatchObject({
      code: 1,
      stderr: 'Rename it; names inside of a dataset may be any bytes.\n',
    });
  });

  test("a folder above or in Longshore's own places is refused, one in scratch is not", async () => {
    const { place } = await setUp();
    const register = (folder: string, ...args: string[]) =>
      runScript('register.ts', [folder, ...RAW, ...args, '--dry-run', '--json'], place.env);
    for (const folder of [
      place.folder,
      place.dir('data'),
      place.dir('data/archive/1999/raw_data/run'),
      place.dir(`data/archive/${new Date().getFullYear()}`),
      place.dir('data/staged/raw_data'),
      place.dir('data/scratch'),
    ]) {
      const { code, stdout } = await register(folder);
      expect([folder, code]).toEqual([folder, 1]);
      expect(stdout).toContain('what Longshore writes itself');
    }
    for (const folder of [place.dir('data/scratch/mine'), place.dir('data/source/raw_data/run')])
      expect((await register(folder)).code).toBe(0);
    const each = await register(place.dir('data'), '--ingest-subdirs');
    const { datasets } = JSON.parse(each.stdout) as { datasets: { name: string; outcome: string }[] };
    expect(datasets.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual([
      'archive failed',
      'scratch failed',
      'source would create',
      'staged failed',
    ]);
    const named = ['run', place.dir('data/staged/raw_data'), '-r'];
    expect(await runScript('register_dataset.ts', named, place.env)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('paths.RAW_DATA.stage'),
    });
    // Also by another way than the configuration's.
    symlinkSync(place.dir('elsewhere'), place.path('data/bundle'));
    const inside = await register(place.dir('elsewhere/raw_data/staging/run'));
    expect(inside).toMatchObject({ code: 1, stdout: expect.stringContaining('paths.RAW_DATA.bundle.stage') });
  });

  test('the log file names what was done', async () => {
    const { place, register } = await setUp();
    await register(...RAW);
    const [file = ''] = readdirSync(place.config.logs.register_ondemand);
    expect(file).toMatch(/^\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}\.log$/);
    expect(readFileSync(join(place.config.logs.register_ondemand, file), 'utf8')).toContain(
      '"outcome":"created"',
    );
  });

  test('without Redis the datasets are registered all the same, to be queued later', async () => {
    const { place, folder, read } = await setUp();
    const env = { ...place.env, REDIS_URL: 'redis://127.0.0.1:1' };
    const done = await runScript('register.ts', [folder, ...RAW], env);
    expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining('queued by the workers') });
    expect((await read()).workflows).toHaveLength(1);
  });
});

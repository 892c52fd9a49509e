import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { manifestKey } from '../../workers/archive/contract.ts';
import { partialPath } from '../../workers/content/publish.ts';
import { fetchedBundleOf, generatedBundleOf, stagedBundleOf } from '../../workers/dataset/paths.ts';
import { type Landing, makeLanding } from './landing.ts';
import { noteCalls, stubTools } from './stubs.ts';

afterEach(() => vi.unstubAllEnvs());

async function landed(): Promise<Landing> {
  const landing = await makeLanding({ 'S1.fastq.gz': 'reads' }, { config: { tools: stubTools } });
  await landing.upTo('setup_dataset_download');
  noteCalls(landing);
  await landing.run('generate_qc');
  return landing;
}

/** Everything below the data folder that belongs to a dataset: no folders of the layout, no archive mark. */
function remains(landing: Landing): string[] {
  const found = spawnSync(
    'find',
    [landing.place.path('data'), '!', '-type', 'd', '!', '-name', '.longshore-archive'],
    {
      encoding: 'utf8',
    },
  );
  return found.stdout.split('\n').filter((line) => line !== '' && !line.startsWith(landing.origin));
}

test('archive, manifest, staged copy, bundle, report, links and alias folder go; the origin stays; the name is free', async () => {
  const landing = await landed();
  const { metadata } = await landing.dataset();
  expect(remains(landing).length).toBeGreaterThan(5);
  await landing.run('delete_dataset');
  expect(remains(landing)).toEqual([]);
  expect(existsSync(landing.place.path('data/staged/raw_data', metadata.stage_alias as string))).toBe(false);
  expect(existsSync(landing.place.path('data/qc/raw_data/run_A'))).toBe(false);
  expect(existsSync(landing.origin)).toBe(true);
  expect(await landing.dataset()).toMatchObject({
    name: `run_A-${landing.id}`,
    is_deleted: true,
    is_staged: false,
    archive_path: null,
    staged_path: null,
  });
  expect((await landing.states()).at(-1)).toBe('DELETED');
  expect(landing.audit).toEqual([
    { action: 'dataset.delete', details: expect.objectContaining({ dataset_id: landing.id, name: 'run_A' }) },
  ]);
});

test('what killed attempts left of a bundle, on its way to an archive or from there, goes with the dataset', async () => {
  const landing = await landed();
  const { config } = landing.place;
  const dataset = await landing.dataset();
  const generated = generatedBundleOf(config, dataset);
  const left = [
    generated,
    manifestKey(generated),
    fetchedBundleOf(config, dataset),
    stagedBundleOf(config, dataset),
  ].map((path) => partialPath(path, 'deadbeef'));
  mkdirSync(dirname(generated), { recursive: true });
  for (const path of [...left, `${left[0]}.marks`]) writeFileSync(path, 'half');
  const other = partialPath(`${generated}2`, 'deadbeef'); // Of another dataset.
  writeFileSync(other, 'half');
  await landing.run('delete_dataset');
  expect(remains(landing)).toEqual([other]);
});

test('a repeat after the record was changed adds the suffix once and says DELETED once', async () => {
  const landing = await landed();
  const { catalog } = landing.store;
  const addState = catalog.addState.bind(catalog);
  catalog.addState = async () => {
    throw new Error('killed');
  };
  await expect(landing.run('delete_dataset')).rejects.toThrow('killed');
  catalog.addState = addState;
  await landing.run('delete_dataset', { attempt: 2 });
  await landing.run('delete_dataset', { attempt: 3 });
  expect((await landing.dataset()).name).toBe(`run_A-${landing.id}`);
  expect((await landing.states()).filter((state) => state === 'DELETED')).toHaveLength(1);
});

test('killed between the removal and the record, the history tells of both attempts', async () => {
  const landing = await landed();
  const { catalog } = landing.store;
  const patch = catalog.patch.bind(catalog);
  catalog.patch = async () => {
    throw new Error('killed');
  };
  await expect(landing.run('delete_dataset')).rejects.toThrow('killed');
  expect(landing.audit.map(({ action }) => action)).toEqual(['dataset.delete']);
  catalog.patch = patch;
  await landing.run('delete_dataset', { attempt: 2 });
  expect(landing.audit.map(({ action }) => action)).toEqual(['dataset.delete', 'dataset.delete']);
  expect((await landing.dataset()).is_deleted).toBe(true);
});

test('an archive that is away fails the deletion, and everything is still there when it is back', async () => {
  const landing = await landed();
  const before = remains(landing);
  renameSync(landing.place.path('data/archive'), landing.place.path('unmounted'));
  landing.place.dir('data/archive');
  expect(await landing.fails('delete_dataset')).toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  expect(await landing.dataset()).toMatchObject({ name: 'run_A', is_deleted: false });
  spawnSync('rmdir', [landing.place.path('data/archive')]);
  renameSync(landing.place.path('unmounted'), landing.place.path('data/archive'));
  expect(remains(landing)).toEqual(before);
});

test('a bundle that was put and never recorded is deleted too', async () => {
  const landing = await makeLanding({ a: 'x' });
  await landing.upTo('archive_dataset');
  const bundle = (await landing.dataset()).archive_path as string;
  await landing.store.catalog.patch(landing.id, { archive_path: null });
  await landing.store.catalog.removeCopy(landing.id, 'filesystem');
  await landing.run('delete_dataset');
  expect(existsSync(bundle)).toBe(false);
  expect((await landing.dataset()).metadata.archive_target ?? null).toBeNull();
});

test('one that others marked as deleted while it was archived is emptied, and renamed once', async () => {
  const landing = await landed();
  await landing.store.catalog.patch(landing.id, { is_deleted: true });
  await landing.run('delete_dataset');
  expect(remains(landing)).toEqual([]);
  expect(await landing.dataset()).toMatchObject({ name: `run_A-${landing.id}`, archive_path: null });
  await landing.run('delete_dataset', { attempt: 2 });
  expect((await landing.dataset()).name).toBe(`run_A-${landing.id}`);
});

test('one that others marked as deleted keeps the places that a new dataset of its name has now', async () => {
  const landing = await landed();
  const { catalog } = landing.store;
  await catalog.patch(landing.id, { is_deleted: true });
  const before = remains(landing);
  const origin_path = landing.place.dir('data/source/raw_data/other/run_A');
  await catalog.register(
    [{ dataset: { name: 'run_A', type: 'RAW_DATA', origin_path, create_method: 'TEST' } }],
    'test',
  );
  expect(await landing.fails('delete_dataset')).toMatchObject({
    code: 'E_DATASET_EXISTS',
    fields: { dataset_id: landing.id, taken_by: landing.id + 1 },
  });
  expect(remains(landing)).toEqual(before);
});

test('a dataset that never came further than its registration is deleted, archive or not', async () => {
  const landing = await makeLanding({ a: 'x' });
  await landing.run('delete_dataset');
  expect(await landing.dataset()).toMatchObject({ is_deleted: true });
});

test('a recorded staged path outside the stage folder is refused before anything is touched, also by way of a link', async () => {
  const landing = await landed();
  const precious = landing.place.dir('precious');
  writeFileSync(`${precious}/file`, 'x');
  await landing.store.catalog.patch(landing.id, { staged_path: precious });
  const before = remains(landing);
  expect(await landing.fails('delete_dataset')).toMatchObject({ code: 'E_NAME_UNSAFE' });
  expect(existsSync(`${precious}/file`)).toBe(true);
  expect(remains(landing)).toEqual(before);

  const wayOut = landing.place.path('data/staged/raw_data/way-out');
  symlinkSync(landing.place.folder, wayOut);
  await landing.store.catalog.patch(landing.id, { staged_path: `${wayOut}/precious` });
  expect(await landing.fails('delete_dataset')).toMatchObject({ code: 'E_NAME_UNSAFE' });
  expect(existsSync(`${precious}/file`)).toBe(true);
});

test("a download link of the same name that leads to someone else's bundle stays", async () => {
  const landing = await landed();
  const link = landing.place.path('data/downloads/run_A.RAW_DATA.tar');
  unlinkSync(link);
  symlinkSync('/elsewhere.tar', link);
  await landing.run('delete_dataset');
  expect(remains(landing)).toEqual([link]);
});

test('a worker that lost its job deletes nothing', async () => {
  const landing = await landed();
  const before = remains(landing);
  await expect(
    landing.run('delete_dataset', {
      lease: () => {
        throw new Error('lost');
      },
    }),
  ).rejects.toThrow('lost');
  expect(remains(landing)).toEqual(before);
});

import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  lchownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeSparse } from '../content/trees.ts';
import { type Landing, makeLanding } from './landing.ts';

const files = { 'a.txt': 'alpha', 'sub/b.txt': 'beta', 'sub/link': { link: 'b.txt' } };

const archived = async (landing: Landing): Promise<string> =>
  (await landing.dataset()).archive_path as string;

const archiveFolder = (landing: Landing): string[] => {
  const year = String(new Date().getFullYear());
  const folder = landing.place.path('data/archive', year, 'raw_data');
  return existsSync(folder) ? readdirSync(folder) : [];
};

test('the catalog knows every file with its digest, the bundle with size and digests, and the state', async () => {
  const landing = await makeLanding(files, {
    config: { digests: { member: ['md5', 'sha256'], bundle: ['md5'] } },
  });
  await landing.upTo('archive_dataset');
  const rows = await landing.store.catalog.files(landing.id, { limit: 10 });
  expect(rows.map(({ path, type, size, md5 }) => [path, type, size, md5])).toEqual([
    ['a.txt', 'file', 5, '2c1743a391305fbf367df8e4f069f9f9'],
    ['sub/b.txt', 'file', 4, '987bcab01b929eb2c07877b224215c92'],
    ['sub/link', 'symbolic link', 5, null],
  ]);
  const { bundle, archive_path } = await landing.dataset();
  expect(archive_path).toBe(
    landing.place.path(`data/archive/${new Date().getFullYear()}/raw_data/run_A.tar`),
  );
  expect(bundle).toMatchObject({
    name: 'run_A.tar',
    size: statSync(archive_path as string).size,
    md5: expect.stringMatching(/^[0-9a-f]{32}$/),
    verified_at: null,
  });
  expect(await landing.states()).toEqual(['REGISTERED', 'ARCHIVED']);
  expect(landing.progress.find(({ name }) => name === 'archive')?.done).toBeGreaterThanOrEqual(9);
});

test.each([
  ['as it was inspected', (): void => undefined],
  [
    'with more than was inspected',
    (origin: string) => appendFileSync(join(origin, 'a.txt'), 'x'.repeat(99_999)),
  ],
  ['with less than was inspected', (origin: string) => rmSync(join(origin, 'sub/holes'))],
])(
  'the progress of packing ends at all of it and is never above, for links, folders and holes, %s',
  async (_, change) => {
    const landing = await makeLanding(files);
    linkSync(join(landing.origin, 'a.txt'), join(landing.origin, 'z.txt'));
    makeSparse(join(landing.origin, 'sub/holes'), 3_000_000, [0, 1_000_000]);
    await landing.run('inspect_dataset');
    const { du_size } = await landing.dataset();
    change(landing.origin);
    const shown: number[] = [];
    await landing.run('archive_dataset', {
      onProgress: (name, done) => (name === 'archive' ? shown.push(done) : 0),
    });
    expect(Math.max(...shown)).toBe(du_size);
    expect(landing.progress.find(({ name }) => name === 'archive')).toMatchObject({
      done: du_size,
      total: du_size,
    });
  },
);

test('a rerun over an unchanged origin writes no second bundle; a changed origin gets a new one', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  const before = statSync(await archived(landing));
  await landing.run('archive_dataset', { attempt: 2 });
  const again = statSync(await archived(landing));
  expect([again.ino, again.mtimeMs]).toEqual([before.ino, before.mtimeMs]);
  expect(await landing.states()).toEqual(['REGISTERED', 'ARCHIVED']);

  writeFileSync(join(landing.origin, 'a.txt'), 'ALPHA'); // Same size: only the time tells.
  utimesSync(join(landing.origin, 'a.txt'), 1_000_000_000, 1_000_000_000);
  await landing.run('archive_dataset', { attempt: 3 });
  expect(statSync(await archived(landing)).ino).not.toBe(before.ino);
  expect(archiveFolder(landing)).toEqual(['run_A.tar', 'run_A.tar.manifest.ndjson']);
});

test('a bundle without a digest that is configured since then is made anew', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  const before = statSync(await archived(landing));
  const { config } = landing.place;
  const bundle = [...config.digests.bundle, 'sha256'];
  Object.assign(landing.place, { config: { ...config, digests: { ...config.digests, bundle } } });
  await landing.run('archive_dataset', { attempt: 2 });
  expect(statSync(await archived(landing)).ino).not.toBe(before.ino);
  expect((await landing.dataset()).bundle?.digests.sha256).toMatch(/^[0-9a-f]{64}$/);
});

test('a file that grows between inspection and archive is in the catalog with the size of the bundle', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  const before = await landing.dataset();
  appendFileSync(join(landing.origin, 'a.txt'), 'four');
  await landing.run('archive_dataset');
  const { size, du_size, num_files } = await landing.dataset();
  expect({ size, du_size, num_files }).toEqual({
    size: Number(before.size) + 4,
    du_size: Number(before.du_size) + 4,
    num_files: 3,
  });
  const rows = await landing.store.catalog.files(landing.id, { limit: 10 });
  expect(rows.reduce((sum, row) => sum + row.size, 0)).toBe(size);
});

test('killed between archive and catalog, the next attempt adopts the bundle that is there', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  const { catalog } = landing.store;
  const patch = catalog.patch.bind(catalog);
  catalog.patch = async (id, change) => {
    if (change.archive_path !== undefined) throw new Error('killed');
    return patch(id, change);
  };
  await expect(landing.run('archive_dataset')).rejects.toThrow('killed');
  catalog.patch = patch;
  expect(await archived(landing)).toBeNull();
  const [bundle] = archiveFolder(landing);
  const path = landing.place.path(
    'data/archive',
    String(new Date().getFullYear()),
    'raw_data',
    bundle as string,
  );
  const before = statSync(path);
  // Noted before the first byte: the next attempt may come in another year.
  expect((await landing.dataset()).metadata.archive_target).toBe(path);
  await landing.run('archive_dataset', { attempt: 2 });
  expect(await archived(landing)).toBe(path);
  expect(statSync(path).ino).toBe(before.ino);
});

test('killed before its new bundle was recorded, the next attempt records that one, not the one before', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  appendFileSync(join(landing.origin, 'a.txt'), 'bet');
  const { catalog } = landing.store;
  const putCopy = catalog.putCopy.bind(catalog);
  catalog.putCopy = () => Promise.reject(new Error('killed'));
  await expect(landing.run('archive_dataset', { attempt: 2 })).rejects.toThrow('killed');
  catalog.putCopy = putCopy;
  await landing.run('archive_dataset', { attempt: 3 });
  const [copy] = await catalog.copies(landing.id);
  expect(copy?.digests).toEqual((await landing.dataset()).bundle?.digests);
});

test('an attempt begun last year is completed where it began', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  const target = landing.place.path('data/archive/2019/raw_data/run_A.tar');
  await landing.store.catalog.patch(landing.id, { metadata: { archive_target: target } });
  await landing.run('archive_dataset');
  expect(await archived(landing)).toBe(target);
  expect(archiveFolder(landing)).toEqual([]);
});

test('a worker that lost its job publishes nothing and leaves nothing', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  const lost = new Error('lease lost');
  await expect(
    landing.run('archive_dataset', {
      lease: () => {
        throw lost;
      },
    }),
  ).rejects.toBe(lost);
  expect(archiveFolder(landing)).toEqual([]);
  expect(await archived(landing)).toBeNull();
});

test('what a dead attempt left in the archive is removed by the next one', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  const folder = landing.place.dir('data/archive', String(new Date().getFullYear()), 'raw_data');
  writeFileSync(join(folder, '.run_A.tar.partial-deadbeef'), 'half');
  writeFileSync(join(folder, '.run_A.tar.manifest.ndjson.partial-deadbeef'), 'half');
  await landing.run('archive_dataset');
  expect(archiveFolder(landing)).toEqual(['run_A.tar', 'run_A.tar.manifest.ndjson']);
  // Also when there is nothing to write.
  writeFileSync(join(folder, '.run_A.tar.partial-deadbeef'), 'half');
  await landing.run('archive_dataset', { attempt: 2 });
  expect(archiveFolder(landing)).toEqual(['run_A.tar', 'run_A.tar.manifest.ndjson']);
});

test('too little space is refused before a byte moves, with need and have', async () => {
  const landing = await makeLanding(files, { config: { stage: { reserve_bytes: 2 ** 52 } } });
  await landing.run('inspect_dataset');
  const error = await landing.fails('archive_dataset');
  expect(error).toMatchObject({ code: 'E_NO_SPACE', class: 'operator' });
  expect(error.fields).toMatchObject({ need: expect.any(Number), available: expect.any(Number) });
  expect(archiveFolder(landing)).toEqual([]);
});

test('an origin that has vanished since its inspection fails by name and leaves nothing', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  rmSync(landing.origin, { recursive: true });
  expect(await landing.fails('archive_dataset')).toMatchObject({ code: 'E_ORIGIN_MISSING' });
  expect(archiveFolder(landing)).toEqual([]);
});

test('an origin that is gone leaves the word to the record, and none where its digests are of other kinds', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  rmSync(landing.origin, { recursive: true });
  await landing.run('archive_dataset', { attempt: 2 });
  const { bundle } = await landing.dataset();
  if (bundle == null) throw new Error('no bundle');
  await landing.store.catalog.patch(landing.id, { bundle: { ...bundle, digests: {} } });
  expect((await landing.fails('archive_dataset', { attempt: 3 })).code).toBe('E_ORIGIN_MISSING');
});

test('a bundle from before copies were recorded keeps the date of its proof', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('stage_dataset');
  const { catalog } = landing.store;
  const before = (await landing.dataset()).bundle?.verified_at;
  await catalog.removeCopy(landing.id, 'filesystem');
  await landing.run('archive_dataset', { attempt: 2 });
  expect(await catalog.copies(landing.id)).toMatchObject([{ archive: 'filesystem', verified_at: null }]);
  expect((await landing.dataset()).bundle?.verified_at).toBe(before ?? 'never');
});

test('files that came after the inspection are counted again, so that the landing can go on', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  mkdirSync(join(landing.origin, 'late'));
  writeFileSync(join(landing.origin, 'late', 'late.txt'), 'late');
  linkSync(join(landing.origin, 'a.txt'), join(landing.origin, 'late', 'same.txt'));
  await landing.run('archive_dataset');
  const du_size = Number.parseInt(execFileSync('du', ['-sb', landing.origin], { encoding: 'utf8' }), 10);
  expect(await landing.dataset()).toMatchObject({ num_files: 5, num_directories: 2, du_size });
  expect(await landing.store.catalog.countFiles(landing.id)).toBe(5);
  await landing.run('stage_dataset');
  expect(await landing.run('validate_dataset')).toEqual([landing.id, []]);
});

test('an empty folder that came after the inspection is counted, too', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  mkdirSync(join(landing.origin, 'late'));
  await landing.run('archive_dataset');
  expect(await landing.dataset()).toMatchObject({ num_files: 3, num_directories: 2 });
});

test('an origin that still grows when its bundle is packed is not archived as it is', async () => {
  const landing = await makeLanding(files);
  await landing.run('inspect_dataset');
  writeFileSync(join(landing.origin, 'late.txt'), 'late');
  const error = await landing.fails('archive_dataset', {
    lease: () => writeFileSync(join(landing.origin, 'later.txt'), 'later'),
  });
  expect(error).toMatchObject({ code: 'E_SOURCE_CHANGED', fields: { found: 5, archived: 4 } });
  expect(await landing.states()).toEqual(['REGISTERED']);
  await landing.run('archive_dataset', { attempt: 2 });
  expect(await landing.store.catalog.countFiles(landing.id)).toBe(5);
});

test('files that are gone leave the catalog with the next bundle', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  rmSync(join(landing.origin, 'a.txt'));
  await landing.run('archive_dataset', { attempt: 2 });
  const rows = await landing.store.catalog.files(landing.id, { limit: 10 });
  expect(rows.map(({ path }) => path)).toEqual(['sub/b.txt', 'sub/link']);
});

test('a damaged manifest in the archive is not believed: the bundle is made anew', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  const manifest = `${await archived(landing)}.manifest.ndjson`;
  const good = readFileSync(manifest, 'utf8');
  writeFileSync(manifest, good.replace('a.txt', 'z.txt'));
  await landing.run('archive_dataset', { attempt: 2 });
  expect(readFileSync(manifest, 'utf8')).toBe(good);
});

test('nothing is left where bundles used to be generated', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  const folder = landing.place.path('data/bundle/raw_data/generation');
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
});

test('an origin that was swapped for a link to a folder of somebody else is neither read nor archived', async ({
  skip,
}) => {
  if (process.getuid?.() !== 0) skip('needs root to make files of other users');
  const landing = await makeLanding(files);
  const foreign = landing.place.dir('foreign');
  writeFileSync(join(foreign, 'secret'), 'of root');
  rmSync(landing.origin, { recursive: true });
  symlinkSync(foreign, landing.origin);
  lchownSync(landing.origin, 4001, 4001);
  for (const task of ['inspect_dataset', 'archive_dataset'])
    expect(await landing.fails(task)).toMatchObject({ code: 'E_ORIGIN_FOREIGN', class: 'operator' });
  expect(archiveFolder(landing)).toEqual([]);
  expect((await landing.store.catalog.files(landing.id, { limit: 1 })).length).toBe(0);
});

/** Calls it when the bundle lies in the archive and nothing is recorded of it yet. */
function whenPacked(landing: Landing, act: () => Promise<unknown>): void {
  const { catalog } = landing.store;
  const get = catalog.get.bind(catalog);
  let acted = false;
  catalog.get = async (...args) => {
    if (!acted && archiveFolder(landing).includes('run_A.tar')) {
      acted = true;
      await act();
    }
    return get(...args);
  };
}

test('a dataset that is deleted while it is packed leaves no bundle and is not said to be archived', async () => {
  const landing = await makeLanding(files);
  const { catalog } = landing.store;
  await landing.upTo('inspect_dataset');
  whenPacked(landing, async () => {
    await catalog.patch(landing.id, { is_deleted: true });
    await catalog.addState(landing.id, 'DELETED');
  });
  expect(await landing.fails('archive_dataset')).toMatchObject({ code: 'E_DATASET_DELETED' });
  expect(archiveFolder(landing)).toEqual([]);
  expect(await landing.dataset()).toMatchObject({ archive_path: null, bundle: null });
  expect((await landing.states()).at(-1)).toBe('DELETED');
});

test('what it has packed stays where a new dataset of its name may have packed too', async () => {
  const landing = await makeLanding(files);
  const { catalog } = landing.store;
  await landing.upTo('inspect_dataset');
  const origin_path = landing.place.dir('data/source/raw_data/other/run_A');
  whenPacked(landing, async () => {
    await catalog.patch(landing.id, { is_deleted: true });
    await catalog.register(
      [{ dataset: { name: 'run_A', type: 'RAW_DATA', origin_path, create_method: 'TEST' } }],
      'test',
    );
  });
  expect(await landing.fails('archive_dataset')).toMatchObject({ code: 'E_DATASET_DELETED' });
  expect(archiveFolder(landing)).toContain('run_A.tar');
  expect((await landing.dataset()).archive_path).toBeNull();
});

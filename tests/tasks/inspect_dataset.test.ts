import { spawnSync } from 'node:child_process';
import { statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundleEstimate, treeEstimate, weightOf } from '../../workers/dataset/estimates.ts';
import { makeLanding } from './landing.ts';

test('counts and sizes are those of du and find: dotfiles, nested folders, links to files and to folders', async () => {
  const landing = await makeLanding({
    '.dot': 'abc',
    'x/y/z.fastq.gz': 'reads',
    'x/s.R1.fastq.gz': 'reads',
    'to-file': { link: '.dot' },
    'to-dir': { link: 'x' },
    'to-nowhere': { link: 'gone' },
    empty: null,
  });
  await landing.run('inspect_dataset');
  const du = spawnSync('du', ['-sb', landing.origin], { encoding: 'utf8' }).stdout.split('\t')[0];
  expect(await landing.dataset()).toMatchObject({
    du_size: Number(du),
    size: 3 + 5 + 5 + '.dot'.length + 'gone'.length,
    num_files: 5,
    num_directories: 4,
    metadata: { num_genome_files: 1 },
  });
  expect(await landing.states()).toEqual(['REGISTERED']);
});

test('used alone it records every file with its digest, in batches, and a changed file gets its new one', async () => {
  const landing = await makeLanding(
    { a: 'one', b: 'two', c: 'three', 'd/e': 'four', 'd/f': 'five' },
    { config: { inspect: { file_metadata_batch_size: 2 }, digests: { member: ['md5'] } } },
  );
  const { catalog } = landing.store;
  const put = catalog.putFiles.bind(catalog);
  const batches: number[] = [];
  catalog.putFiles = async (id, rows, generation) => {
    batches.push(rows.length);
    return put(id, rows, generation);
  };
  await landing.run('inspect_dataset');
  expect(batches).toEqual([2, 2, 1]);
  const md5Of = async (path: string): Promise<string | null | undefined> =>
    (await catalog.files(landing.id, { limit: 10 })).find((row) => row.path === path)?.md5;
  expect(await md5Of('a')).toBe('f97c5d29941bfb1b2fdab0874906ab82');
  writeFileSync(join(landing.origin, 'a'), 'changed');
  await landing.run('inspect_dataset', { attempt: 2 });
  expect(await md5Of('a')).toBe('8977dfac2f8e04cb96e66882235f5aba');
});

test('a file that looks as it did is not read again, unless that is asked for', async () => {
  const landing = await makeLanding(
    { a: 'one', b: 'two', 'c/d': 'three' },
    { config: { digests: { member: ['md5'] } } },
  );
  const { catalog } = landing.store;
  await landing.run('inspect_dataset');
  // Digests that no reading would give: what keeps them was not read.
  const marked = (await catalog.files(landing.id, { limit: 10 })).map((row) => ({
    ...row,
    md5: 'kept',
    digests: { md5: 'kept' },
  }));
  await catalog.putFiles(landing.id, marked, 'marked');
  writeFileSync(join(landing.origin, 'b'), 'TWO'); // The same size.
  const { atime, mtime } = statSync(join(landing.origin, 'a'));
  writeFileSync(join(landing.origin, 'a'), 'ONE'); // And the old time set again.
  utimesSync(join(landing.origin, 'a'), atime, mtime);
  await landing.run('inspect_dataset', { attempt: 2 });
  const digests = async () => (await catalog.files(landing.id, { limit: 10 })).map(({ md5 }) => md5);
  expect(await digests()).toEqual([
    expect.not.stringContaining('kept'),
    expect.not.stringContaining('kept'),
    'kept',
  ]);
  await landing.run('inspect_dataset', { attempt: 3, kwargs: { reread: true } });
  expect(await digests()).toEqual([
    expect.not.stringContaining('kept'),
    expect.not.stringContaining('kept'),
    '35d6d33467aae9a2e3dccb4b6b027878',
  ]);
});

test('before an archive step it only walks', async () => {
  const landing = await makeLanding({ a: 'one' });
  await landing.run('inspect_dataset', { kwargs: { digests: false } });
  expect(await landing.store.catalog.countFiles(landing.id)).toBe(0);
  expect((await landing.dataset()).num_files).toBe(1);
  const steps = landing.place.config.workflow_registry.integrated?.steps ?? [];
  expect(steps.find(({ task }) => task === 'inspect_dataset')?.kwargs).toEqual({ digests: false });
});

test('a FIFO fails the inspection with the list of problems, and nothing is recorded', async () => {
  const landing = await makeLanding({ a: 'x' });
  spawnSync('mkfifo', [join(landing.origin, 'pipe')]);
  const error = await landing.fails('inspect_dataset');
  expect(error).toMatchObject({ code: 'E_INSPECTION', class: 'operator' });
  expect(error.fields).toMatchObject({ total: 1, problems: [['pipe', expect.any(String)]] });
  expect(error.message).toMatch(/^1 entry of .* cannot be archived, "pipe": is neither/);
  expect((await landing.dataset()).num_files).toBeNull();
});

test('a deleted dataset is refused', async () => {
  const landing = await makeLanding({ a: 'x' });
  await landing.store.catalog.patch(landing.id, { is_deleted: true });
  expect(await landing.fails('inspect_dataset')).toMatchObject({ code: 'E_DATASET_DELETED' });
});

test('holes are counted: archive and stage ask for room without them', async () => {
  const landing = await makeLanding({ a: 'x' });
  truncateSync(join(landing.origin, 'a'), 1e9);
  await landing.upTo('archive_dataset');
  const dataset = await landing.dataset();
  expect(dataset.size).toBe(1e9);
  expect(dataset.metadata.hole_bytes).toBeGreaterThan(1e9 - 10_000);
  expect(bundleEstimate(weightOf(dataset), landing.place.config.bundle)).toBeLessThan(30_000);
  expect(dataset.bundle?.size).toBeLessThan(bundleEstimate(weightOf(dataset), landing.place.config.bundle));
  expect(treeEstimate(dataset, dataset.bundle?.size ?? 0)).toBeLessThan(30_000);
});

test.each(['large', 'all'] as const)(
  'with pax_times: %s there is room for the bundle of many small files',
  async (pax_times) => {
    const files = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`run/${at}`, `${at}`]));
    const landing = await makeLanding(files, { config: { bundle: { pax_times } } });
    await landing.upTo('archive_dataset');
    const dataset = await landing.dataset();
    const estimate = bundleEstimate(weightOf(dataset), landing.place.config.bundle);
    expect(dataset.bundle?.size).toBeLessThanOrEqual(estimate);
  },
);

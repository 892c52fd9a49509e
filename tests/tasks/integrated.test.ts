import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { movedBytes } from '../../bench/machine.ts';
import { fingerprint, type Landing, makeLanding } from './landing.ts';

const odd = {
  'a.fastq.gz': 'reads',
  'empty.txt': '',
  'empty dir': null,
  '.hidden/deep/er.bam': Buffer.alloc(70_000, 7),
  'it\'s "quoted"\nand more': 'x',
  '-rf': 'dash',
  ['n'.repeat(255)]: 'long',
  'to-file': { link: 'a.fastq.gz' },
  'to-dir': { link: '.hidden' },
  'to-nowhere': { link: 'gone' },
};

/** Everything below the data folder, without the archive's mark. */
function litter(landing: Landing): string[] {
  const found = spawnSync('find', [landing.place.path('data'), '-name', '*.partial-*'], { encoding: 'utf8' });
  return found.stdout.split('\n').filter((line) => line !== '');
}

test('a dataset with odd names, links and empty members arrives byte-identical, with links, states and no litter', async () => {
  const landing = await makeLanding(odd);
  await landing.run('await_stability', { kwargs: { recency_threshold: 0.001 } });
  await landing.upTo('setup_dataset_download');
  const dataset = await landing.dataset();
  const { place } = landing;
  expect(fingerprint(dataset.staged_path as string)).toBe(fingerprint(landing.origin));
  expect(await landing.states()).toEqual(['REGISTERED', 'READY', 'ARCHIVED', 'FETCHED', 'STAGED']);
  expect(dataset).toMatchObject({
    is_staged: true,
    num_files: 8,
    num_directories: 4,
    bundle: { name: 'run_A.tar', verified_at: expect.stringMatching(/^\d{4}-/) },
  });
  expect(dataset.metadata.stage_alias).toMatch(/^[0-9a-f]{32}$/);
  const link = place.path('data/downloads', dataset.metadata.stage_alias as string);
  expect(readlinkSync(link)).toBe(dataset.staged_path);
  expect(statSync(place.path('data/downloads/run_A.RAW_DATA.tar')).size).toBe(dataset.bundle?.size);
  expect(await landing.store.catalog.countFiles(landing.id)).toBe(8);
  expect(litter(landing)).toEqual([]);
  expect(readdirSync(place.path('data/bundle/raw_data/staging'))).toEqual(['run_A.RAW_DATA.tar']);
});

test('GNU tar lists and extracts the bundle, members start with ./', async () => {
  const landing = await makeLanding(odd);
  await landing.upTo('archive_dataset');
  const { archive_path, bundle } = await landing.dataset();
  expect(statSync(archive_path as string).size).toBe(bundle?.size);
  const listed = spawnSync('tar', ['tf', archive_path as string], { encoding: 'utf8' });
  expect(listed.status).toBe(0);
  expect(listed.stdout.split('\n').filter((line) => line !== '' && !line.startsWith('./'))).toEqual([]);
  const out = landing.place.dir('by-tar');
  expect(spawnSync('tar', ['xf', archive_path as string, '-C', out]).status).toBe(0);
  expect(fingerprint(out)).toBe(fingerprint(landing.origin));
});

test('the tasks of a landing read each byte twice and write it three times, as the kernel counts', async () => {
  // What a process reads to begin with, its code above all, is read by this one.
  await (await makeLanding({ a: 'x' })).upTo('setup_dataset_download');
  const bytes = 64 * 1024 ** 2;
  const landing = await makeLanding({
    'lane1/a.bcl': randomBytes(bytes / 2),
    'lane2/b.bcl': randomBytes(bytes / 2),
  });
  const before = movedBytes();
  for (const { task, kwargs } of landing.place.config.workflow_registry.integrated?.steps ?? [])
    await landing.run(task, { kwargs: { ...kwargs, recency_threshold: 0.001 } });
  const after = movedBytes();
  expect((await landing.states()).at(-1)).toBe('STAGED');
  const times = (what: 'read' | 'written'): number => (after[what] - before[what]) / bytes;
  // Less would be copies that the kernel does not count, and that nobody has compared.
  expect(times('read')).toBeGreaterThan(1.95);
  expect(times('read')).toBeLessThan(2.15);
  expect(times('written')).toBeGreaterThan(2.95);
  expect(times('written')).toBeLessThan(3.15);
});

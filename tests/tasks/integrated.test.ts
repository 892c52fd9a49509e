import { spawnSync } from 'node:child_process';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { expect, test } from 'vitest';
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

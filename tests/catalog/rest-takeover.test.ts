import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { FileRow } from '../../workers/dataset/types.ts';
import { openStore } from '../../workers/store.ts';
import { type BioloopApi, startBioloopApi } from '../support/bioloop-api.ts';
import { restOverrides } from '../support/rest-place.ts';
import { fingerprint, type Landing, makeLanding } from '../tasks/landing.ts';

const md5 = (bytes: Buffer | string): string => createHash('md5').update(bytes).digest('hex');
const FILES = { 'a.txt': 'alpha', 'deep/b b.txt': 'beta', 'deep/link': { link: '../a.txt' } };

/** As the reference's workers left it: a tar of GNU, and in the API what they told it. Nothing of it is known here. */
async function archivedByTheReference(): Promise<Landing & { double: BioloopApi }> {
  const double = await startBioloopApi();
  const landing = await makeLanding(FILES, { config: restOverrides(double) });
  const archive_path = landing.place.path('data/archive/2025/raw_data/run_A.tar');
  mkdirSync(dirname(archive_path), { recursive: true });
  execFileSync('tar', ['cf', archive_path, '--sparse', '-C', landing.origin, '.']);
  // What an operator does once for an archive that Longshore did not make, see docs/archives.md.
  writeFileSync(landing.place.path('data/archive/.longshore-archive'), '');
  const tar = readFileSync(archive_path);
  Object.assign(double.store.dataset(landing.id), {
    archive_path,
    du_size: 10n,
    size: 16n,
    num_files: 3,
    num_directories: 1,
    bundle: { name: 'run_A.tar', size: BigInt(tar.length), md5: md5(tar) },
  });
  double.store.addFiles(landing.id, [
    { path: 'a.txt', md5: md5('alpha'), size: '5', type: 'file' },
    { path: 'deep/b b.txt', md5: md5('beta'), size: '4', type: 'file' },
    { path: 'deep/link', md5: null, size: '8', type: 'symbolic link' },
  ]);
  return { ...landing, double };
}

const STAGE = ['stage_dataset', 'validate_dataset', 'setup_dataset_download'];

test('a dataset that the reference archived is staged, validated by its md5 and linked', async () => {
  const landing = await archivedByTheReference();
  const { double, id, origin, place } = landing;
  for (const step of STAGE) await landing.run(step);
  const { staged_path, is_staged, metadata } = double.store.dataset(id);
  expect(is_staged).toBe(true);
  expect(await landing.states()).toEqual(['REGISTERED', 'FETCHED', 'STAGED']);
  expect(fingerprint(join(staged_path ?? ''))).toBe(fingerprint(origin));
  expect(readlinkSync(place.path('data/downloads', String(metadata.stage_alias)))).toBe(staged_path);
});

test('a file that differs from the md5 that the API has is found', async () => {
  const landing = await archivedByTheReference();
  const row = landing.double.store.dataset(landing.id).files.get('deep/b b.txt');
  Object.assign(row ?? {}, { md5: md5('another') });
  await landing.run('stage_dataset');
  expect((await landing.fails('validate_dataset')).fields.problems).toEqual([
    ['deep/b b.txt', 'checksum mismatch'],
  ]);
});

const MANY = 5_000;
const INSPECTED: FileRow = {
  path: 'a.txt',
  type: 'file',
  size: 5,
  md5: md5('alpha'),
  digests: { md5: md5('alpha') },
};

/** With more rows than are read at once, and an API whose connection breaks in the middle of telling them. */
async function brokenTakeOver(): Promise<Landing & { double: BioloopApi }> {
  const landing = await archivedByTheReference();
  const { double, id, store } = landing;
  Object.assign(double.store.dataset(id), { num_files: MANY + 3 });
  double.store.addFiles(
    id,
    Array.from({ length: MANY }, (_, n) => ({
      path: `more/${n}`,
      md5: md5(`${n}`),
      size: '1',
      type: 'file',
    })),
  );
  await store.catalog.get(id);
  double.fail('GET datasets/:id', { kind: 'cut', share: 0.8 }, 1);
  await expect(store.catalog.files(id, { limit: 1 })).rejects.toMatchObject({ code: 'E_API_UNAVAILABLE' });
  return landing;
}

test('rows that came in part are not taken for all of them, by this process or another one', async () => {
  const { place, id, store } = await brokenTakeOver();
  const other = await openStore(place.config);
  onTestFinished(() => other.close());
  expect(await other.catalog.countFiles(id)).toBe(MANY + 3);
  expect(await store.catalog.countFiles(id)).toBe(MANY + 3);
});

test('an inspection takes the place of a part, and nothing is asked for any more', async () => {
  const { double, place, id, store } = await brokenTakeOver();
  await store.catalog.putFiles(id, [INSPECTED], 'ours');
  // Another process, while the inspection is at work: what it brings is swept, and what was inspected stays.
  const other = await openStore(place.config);
  onTestFinished(() => other.close());
  expect(await other.catalog.countFiles(id)).toBe(MANY + 3);
  await store.catalog.sweepFiles(id, 'ours');
  const late = await openStore(place.config);
  onTestFinished(() => late.close());
  const asked = double.called('GET datasets/:id').length;
  expect(await late.catalog.files(id, { limit: 10 })).toEqual([INSPECTED]);
  expect(double.called('GET datasets/:id')).toHaveLength(asked);
});

test('a first inspection that was killed leaves a part as well', async () => {
  const { place, id, store } = await archivedByTheReference();
  await store.catalog.get(id);
  await store.catalog.putFiles(id, [INSPECTED], 'killed');
  const other = await openStore(place.config);
  onTestFinished(() => other.close());
  expect(await other.catalog.countFiles(id)).toBe(3);
});

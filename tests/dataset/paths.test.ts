import { createHash } from 'node:crypto';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  aliasOf,
  archivePathOf,
  assertBelow,
  downloadLinksOf,
  MAX_NAME_BYTES,
  qcFolderOf,
  stagedBundleOf,
  stagedPathOf,
} from '../../workers/dataset/paths.ts';
import { makePlace } from '../support/place.ts';

const dataset = { id: 7, name: 'run_A', type: 'RAW_DATA', metadata: {} };

test('the alias is the first 32 hex digits of SHA-256 over id, name and salt, until one is stored', async () => {
  const { config } = await makePlace({ stage: { alias_salt: 'pepper' } });
  const expected = createHash('sha256').update('7run_Apepper').digest('hex').slice(0, 32);
  expect(aliasOf(config, dataset)).toBe(expected);
  expect(aliasOf(config, { ...dataset, metadata: { stage_alias: 'kept-from-before' } })).toBe(
    'kept-from-before',
  );
});

test('a stored alias that leads out of the stage folder is refused', async () => {
  const { config } = await makePlace();
  expect(() => stagedPathOf(config, { ...dataset, metadata: { stage_alias: '..' } })).toThrow(
    expect.objectContaining({ code: 'E_NAME_UNSAFE' }),
  );
});

test('staged path and links are below the real paths of their folders, the bundle carries the type', async () => {
  const place = await makePlace();
  const real = place.dir('elsewhere');
  place.dir('data', 'staged');
  symlinkSync(real, place.path('data', 'staged', 'raw_data'));
  const alias = aliasOf(place.config, dataset);
  expect(stagedPathOf(place.config, dataset)).toBe(join(real, alias, 'run_A'));
  expect(stagedBundleOf(place.config, dataset)).toBe(
    place.path('data/bundle/raw_data/staging/run_A.RAW_DATA.tar'),
  );
  expect(downloadLinksOf(place.config, dataset)).toEqual({
    tree: place.path('data/downloads', alias),
    bundle: place.path('data/downloads/run_A.RAW_DATA.tar'),
    report: place.path('data/downloads', `${alias}.qc.html`),
  });
  expect(qcFolderOf(place.config, dataset)).toBe(place.path('data/qc/raw_data/run_A/qc'));
});

test('past New Year the archive path has the new year, without a restart', async () => {
  const place = await makePlace();
  const at = (now: string): string => archivePathOf(place.config, dataset, new Date(now));
  expect(at('2026-12-31T23:59:59')).toBe(place.path('data/archive/2026/raw_data/run_A.tar'));
  expect(at('2027-01-01T00:00:01')).toBe(place.path('data/archive/2027/raw_data/run_A.tar'));
});

test.each([
  ['', 'empty'],
  ['.', 'the folder itself'],
  ['..', 'its parent'],
  ['a/b', 'a path'],
  ['a\0b', 'a NUL'],
  ['x'.repeat(MAX_NAME_BYTES + 1), 'too long for its bundle'],
  ['é'.repeat(MAX_NAME_BYTES / 2 + 1), 'too long in bytes'],
])('the name %j is refused: %s', async (name) => {
  const { config } = await makePlace();
  for (const formula of [stagedPathOf, archivePathOf, qcFolderOf, stagedBundleOf]) {
    expect(() => formula(config, { ...dataset, name })).toThrow(
      expect.objectContaining({ code: 'E_NAME_UNSAFE' }),
    );
  }
});

test('quotes, newlines, spaces and leading dashes in a name are no danger', async () => {
  const { config } = await makePlace();
  const name = `-r "it's"\nso`;
  expect(stagedPathOf(config, { ...dataset, name }).endsWith(`/${name}`)).toBe(true);
});

test('below means strictly below, by path components', () => {
  expect(assertBelow('/a/b', '/a/b/..c', 'x')).toBe('/a/b/..c');
  for (const path of ['/a/b', '/a/bc', '/a', '/a/b/../c'])
    expect(() => assertBelow('/a/b', path, 'x')).toThrow(expect.objectContaining({ code: 'E_NAME_UNSAFE' }));
});

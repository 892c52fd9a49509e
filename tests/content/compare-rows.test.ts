/** A tree against the rows of the catalog, where no manifest tells what it ought to be. */
import { createHash } from 'node:crypto';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareRows } from '../../workers/content/compare/rows.ts';
import { type FileRow, SIZE_UNKNOWN } from '../../workers/dataset/types.ts';
import { makePlace } from '../support/place.ts';

const md5 = createHash('md5').update('alpha').digest('hex');
const file = (path: string, given: Partial<FileRow> = {}): FileRow => ({
  path,
  type: 'file',
  size: 5,
  md5,
  digests: {},
  ...given,
});

/** A file `a` and a link `l` to it, against these rows. */
async function problems(...rows: FileRow[]): Promise<[string, string][]> {
  const place = await makePlace();
  const root = place.dir('staged');
  writeFileSync(join(root, 'a'), 'alpha');
  symlinkSync('a', join(root, 'l'));
  const page = async (after: string | null): Promise<FileRow[]> => (after === null ? rows : []);
  return (await compareRows({ root, page })).problems;
}

const link = file('l', { type: 'symbolic link', size: 1, md5: null });

test('what is as its rows say has no problems, and each difference is told', async () => {
  expect(await problems(file('a'), link)).toEqual([]);
  expect(await problems(link)).toEqual([['a', 'is not in the catalog']]);
  expect(await problems(file('a'), link, file('z'))).toEqual([['z', 'file does not exist']]);
  expect(await problems(file('a', { md5: '0'.repeat(32) }), link)).toEqual([['a', 'checksum mismatch']]);
});

test('a link in the place of a file, or a file in that of a link, is another type', async () => {
  expect(await problems(file('a'), file('l'))).toEqual([['l', 'type differs']]);
  expect(await problems({ ...link, path: 'a' }, link)).toEqual([['a', 'type differs']]);
});

test('what the row of a link says of bytes is of what it leads to, and that has a row of its own', async () => {
  expect(await problems(file('a'), { ...link, size: 5, md5: '0'.repeat(32) })).toEqual([]);
});

test('a size counts where no digest is known, unless nobody knows it either', async () => {
  expect(await problems(file('a', { md5: null }), link)).toEqual([]);
  expect(await problems(file('a', { md5: null, size: 4 }), link)).toEqual([['a', 'size differs']]);
  expect(await problems(file('a', { size: 0, fingerprint: SIZE_UNKNOWN }), link)).toEqual([]);
});

import { mkdirSync, renameSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isArriving } from '../../workers/uploads/arrivals.ts';
import { payloadOf, assertUploadRoot, uploadRoots } from '../../workers/uploads/roots.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';
import { writeTree } from './trees.ts';

const ID = 'a'.repeat(32);

/** What was made so far is old: the next write is what counts. Change times cannot be set, so time is told by them. */
async function ground() {
  const place = await makePlace();
  const root = place.dir('data/uploads');
  const origin_path = writeTree(join(root, 'raw_data/7/up'), { 'sub/a': 'a' });
  writeTree(root, { [ID]: 'x', [`${ID}.json`]: JSON.stringify({ metadata: { dataset_id: '7' } }) });
  const dataset = { id: 7, name: 'up', type: 'RAW_DATA', origin_path };
  const log = {
    dataset_id: 7,
    status: 'UPLOADING',
    retry_count: 0,
    process_id: null,
    metadata: {},
    updated_at: null,
    dataset,
  };
  // Times of files come from the kernel's ticks, which lag behind the clock by up to 10 ms.
  const made = Date.now();
  await until(() => Date.now() > made + 60);
  const since = made + 30;
  return { place, root, origin_path, log, since, arriving: () => isArriving(log, [root], since) };
}

describe('bytes of an upload arrive', () => {
  test('not when nothing was written since', async () => {
    expect((await ground()).arriving()).toBe(false);
  });

  test.each<[string, (root: string, origin: string) => void]>([
    ['while its resumable file grows', (root) => writeFileSync(join(root, ID), 'xy')],
    [
      'when another file of it begins',
      (root) =>
        writeTree(root, {
          ['b'.repeat(32)]: '',
          [`${'b'.repeat(32)}.json`]: '{"metadata":{"dataset_id":7}}',
        }),
    ],
    [
      'when its resumable file is described anew',
      (root) => writeTree(root, { [`${ID}.json`]: '{"metadata":{"dataset_id":7}}' }),
    ],
    ['when a file comes to its folder', (_, origin) => writeTree(origin, { 'sub/deep/b': 'b' })],
    [
      'when an old file is moved there',
      (root, origin) => {
        utimesSync(join(root, ID), 1, 1);
        renameSync(join(root, ID), join(origin, 'sub/b'));
      },
    ],
    [
      'when the list of what has arrived grows',
      (root) => writeTree(root, { [`uploaded_data/7/${ID}.json`]: '{}' }),
    ],
  ])('%s', async (_, write) => {
    const { root, origin_path, arriving } = await ground();
    write(root, origin_path);
    expect(arriving()).toBe(true);
  });

  test.each<[string, (root: string) => void]>([
    [
      'of another dataset',
      (root) =>
        writeTree(root, {
          ['c'.repeat(32)]: '',
          [`${'c'.repeat(32)}.json`]: '{"metadata":{"dataset_id":"77"}}',
        }),
    ],
    ['that nobody has described', (root) => writeFileSync(join(root, 'd'.repeat(32)), 'x')],
    [
      'half described',
      (root) => writeTree(root, { ['e'.repeat(32)]: '', [`${'e'.repeat(32)}.json`]: '{"meta' }),
    ],
    ['that is no upload', (root) => writeFileSync(join(root, 'readme'), 'x')],
  ])('but not by a file %s', async (_, write) => {
    const { root, arriving } = await ground();
    write(root);
    expect(arriving()).toBe(false);
  });

  test('a file that the browser has named is its own, though nobody has described it', async () => {
    const { root, log, since } = await ground();
    const process_id = 'd'.repeat(32);
    writeFileSync(join(root, process_id), 'x');
    expect(isArriving({ ...log, process_id }, [root], since)).toBe(true);
  });

  test('an upload whose folder does not exist yet is told by its file', async () => {
    const { root, log, since } = await ground();
    const fresh = { ...log, dataset: { ...log.dataset, origin_path: join(root, 'raw_data/8/not yet') } };
    expect(isArriving(fresh, [root], since)).toBe(false);
    writeFileSync(join(root, ID), 'xyz');
    expect(isArriving(fresh, [root], since)).toBe(true);
  });
});

describe('folders of uploads', () => {
  test('roots are the parents of the configured folders, each once, only those that are there', async () => {
    const place = await makePlace();
    expect(uploadRoots(place.config)).toEqual([]);
    const root = place.dir('data/uploads');
    expect(uploadRoots(place.config)).toEqual([root]);
  });

  test('a root that is empty or not there is not mounted', async () => {
    const place = await makePlace();
    const problem = { code: 'E_ORIGIN_MISSING', hint: expect.stringContaining('.longshore-mounted') };
    const at = (): unknown => assertUploadRoot(place.config, 'DATA_PRODUCT');
    expect(at).toThrow(expect.objectContaining(problem));
    place.dir('data/uploads');
    expect(at).toThrow(expect.objectContaining(problem));
    place.dir('data/uploads/raw_data');
    expect(at).not.toThrow();
  });

  test('a payload lies two levels below the folder of a type, as configured or as the API names it', async () => {
    const { place, root, origin_path } = await ground();
    const at = (path: string) => payloadOf(place.config, [root], path);
    expect(at(origin_path)).toEqual({ path: origin_path, root, owner: '7' });
    expect(at(writeTree(join(root, 'data_product/9/up/deeper'), { x: '' }))?.path).toContain(
      'data_product/9',
    );
    expect(at(join(root, 'raw_data/99/gone'))).toBeNull();
    expect(at(join(root, 'raw_data/7/gone'))).toBeNull();
  });

  test.each<[string, (root: string, place: string) => string]>([
    ['the root itself', (root) => root],
    ['the folder of a type', (root) => join(root, 'raw_data')],
    ['the folder of an id', (root) => join(root, 'raw_data/7')],
    ['another folder of the root', (root) => writeTree(join(root, 'uploaded_data/7/x'), { x: '' })],
    ['a folder elsewhere', (_, place) => writeTree(join(place, 'source/raw_data/7/x'), { x: '' })],
    ['.. that lead out', (root) => `${root}/raw_data/7/../../../source`],
    ['.. that lead to the folder of a type', (root) => `${root}/raw_data/7/up/../..`],
    [
      'a link',
      (root, place) => {
        symlinkSync(writeTree(join(place, 'elsewhere'), { x: '' }), join(root, 'raw_data/7/link'));
        return join(root, 'raw_data/7/link');
      },
    ],
    [
      'a way through a link',
      (root, place) => {
        mkdirSync(join(root, 'raw_data/8'));
        symlinkSync(writeTree(join(place, 'elsewhere'), { 'x/y': '' }), join(root, 'raw_data/8/link'));
        return join(root, 'raw_data/8/link/x');
      },
    ],
    ['a relative path', () => 'raw_data/7/up'],
    ['no path', () => ''],
  ])('%s is no payload', async (_, make) => {
    const { place, root } = await ground();
    expect(() => payloadOf(place.config, [root], make(root, place.folder))).toThrow(
      expect.objectContaining({ code: 'E_NAME_UNSAFE' }),
    );
  });
});

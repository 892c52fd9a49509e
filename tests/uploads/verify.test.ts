import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkSizes } from '../../workers/uploads/size-manifest.ts';
import { verifyUpload } from '../../workers/uploads/verify.ts';
import { makePlace } from '../support/place.ts';
import { AWKWARD, AWKWARD_HASH, browserSizes, writeTree } from './trees.ts';

const FILES = { 'a.txt': 'abc', 'dir/b.txt': 'hello', 'a-b': '' };

async function upload(metadata: Record<string, unknown>, files: Record<string, string | Buffer> = FILES) {
  const place = await makePlace();
  const origin_path = writeTree(place.path('up'), files);
  return { place, metadata, dataset: { id: 7, name: 'up', type: 'DATA_PRODUCT', origin_path } };
}

describe('strategies', () => {
  test('the manifest hash is compared before all else', async () => {
    const log = await upload(
      { checksum: { manifest_hash: AWKWARD_HASH.toUpperCase() }, size_manifest: { mode: 'nonsense' } },
      { ...AWKWARD },
    );
    expect(await verifyUpload(log)).toMatchObject({ by: 'manifest hash', files: 12, warning: null });
  });

  test('another hash is a "Manifest hash mismatch" that names both', async () => {
    const log = await upload({
      checksum: { manifest_hash: '0'.repeat(64) },
      size_manifest: browserSizes(FILES),
    });
    await expect(verifyUpload(log)).rejects.toMatchObject({
      code: 'E_UPLOAD_INTEGRITY',
      message: expect.stringMatching(/^Manifest hash mismatch: .*0{64}/),
    });
  });

  test('without a hash paths and sizes are compared, with a warning when the browser gave up', async () => {
    const checksum = { skipped: true, skipped_reason: 'client_computation_failed' };
    const log = await upload({ checksum, size_manifest: browserSizes(FILES) });
    const found = await verifyUpload(log);
    expect(found).toMatchObject({ by: 'size manifest', files: 3, bytes: 8 });
    expect(found.warning).toContain('client_computation_failed');
    expect(
      (await verifyUpload({ ...log, metadata: { size_manifest: browserSizes(FILES) } })).warning,
    ).toBeNull();
  });

  test('with neither there must be a file', async () => {
    expect(await verifyUpload(await upload({ checksum: { skipped: true } }))).toMatchObject({
      by: 'existence',
      files: 3,
      warning: expect.stringContaining('contents are not compared'),
    });
    expect(await verifyUpload(await upload({}))).toMatchObject({ by: 'existence', warning: null });
  });

  test.each([{}, { checksum: { manifest_hash: AWKWARD_HASH } }])(
    'an upload of empty folders is refused: No files found (%j)',
    async (metadata) => {
      const log = await upload(metadata, {});
      mkdirSync(join(log.dataset.origin_path, 'empty/folders'), { recursive: true });
      await expect(verifyUpload(log)).rejects.toMatchObject({
        code: 'E_UPLOAD_INTEGRITY',
        message: expect.stringContaining('No files found'),
      });
    },
  );

  test('an origin path that is not recorded or not there is an error', async () => {
    const log = await upload({});
    for (const origin_path of [null, '', `${log.dataset.origin_path}-gone`])
      await expect(verifyUpload({ ...log, dataset: { ...log.dataset, origin_path } })).rejects.toMatchObject({
        code: 'E_ORIGIN_MISSING',
      });
  });
});

describe('size manifest', () => {
  const good = browserSizes(FILES);
  const without = (path: string) => good.files.filter((file) => file.path !== path);

  test.each<[string, unknown, RegExp]>([
    ['another mode', { ...good, mode: 'path-size-v2' }, /mode "path-size-v2"/],
    ['no mode', { files: good.files }, /mode undefined/],
    ['no object', 'path-size-v1', /mode undefined/],
    ['no files', { ...good, files: [] }, /names no files/],
    ['files left out', { mode: good.mode }, /names no files/],
    ['a negative size', { ...good, files: [{ path: 'a.txt', size: -1 }] }, /malformed at files\.0\.size/],
    [
      'a missing file',
      { ...good, files: [...without('a-b'), { path: 'gone', size: 0 }] },
      /"gone" .* missing/,
    ],
    ['a file below a file', { ...good, files: [{ path: 'a.txt/x', size: 1 }] }, /missing/],
    ['a folder as a file', { ...good, files: [{ path: 'dir', size: 0 }] }, /no regular file/],
    [
      'another size',
      { ...good, files: [...without('a.txt'), { path: 'a.txt', size: 4 }] },
      /^Size mismatch: "a\.txt" has 3/,
    ],
    [
      'an extra file on disk',
      { ...good, file_count: 2, total_size: 3, files: without('dir/b.txt') },
      /3 files, 2 were sent; not sent: "dir\/b\.txt"/,
    ],
    ['a count of its own that is wrong', { ...good, file_count: 4 }, /counts 4 files and names 3/],
    ['a total that is wrong', { ...good, total_size: 9 }, /^Size mismatch: .*total of 9/],
    [
      'one file twice instead of another',
      { ...good, files: [...without('dir/b.txt'), { path: 'a.txt', size: 3 }] },
      /names "a\.txt" twice/,
    ],
    ['.. components', { ...good, files: [{ path: '../secret', size: 6 }] }, /escapes the upload/],
    ['.. that leads back', { ...good, files: [{ path: 'dir/../a.txt', size: 3 }] }, /escapes the upload/],
    ['an absolute path', { ...good, files: [{ path: '/etc/hostname', size: 3 }] }, /escapes the upload/],
    ['a zero byte', { ...good, files: [{ path: 'a\0b', size: 3 }] }, /escapes the upload/],
  ])('%s is refused', async (_, manifest, message) => {
    const log = await upload({ size_manifest: manifest });
    writeTree(log.place.folder, { secret: 'secret' });
    await expect(verifyUpload(log)).rejects.toMatchObject({
      code: 'E_UPLOAD_INTEGRITY',
      message: expect.stringMatching(message),
    });
  });

  test('a folder that is a link out of the upload does not count as part of it', async () => {
    const { place, dataset } = await upload({});
    writeTree(place.path('elsewhere'), { x: 'x' });
    symlinkSync(place.path('elsewhere'), join(dataset.origin_path, 'way'));
    expect(existsSync(join(dataset.origin_path, 'way/x'))).toBe(true);
    const files = [{ path: 'way/x', size: 1 }];
    await expect(checkSizes(dataset.origin_path, { mode: 'path-size-v1', files })).rejects.toMatchObject({
      code: 'E_UPLOAD_INTEGRITY',
      message: expect.stringContaining('escapes the upload'),
    });
  });

  test('a path that is written in another way names the same file', async () => {
    const { dataset } = await upload({});
    const files = good.files.map(({ path, size }) => ({ path: `./${path.replace('/', '//')}`, size }));
    expect(await checkSizes(dataset.origin_path, { ...good, files })).toEqual({ files: 3, bytes: 8 });
  });

  test('counts that the browser left out are not asked for', async () => {
    const { dataset } = await upload({});
    expect(await checkSizes(dataset.origin_path, { mode: good.mode, files: good.files })).toEqual({
      files: 3,
      bytes: 8,
    });
  });
});

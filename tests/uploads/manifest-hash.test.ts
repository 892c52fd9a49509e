import { appendFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { payloadHash } from '../../workers/uploads/manifest-hash.ts';
import { payloadFiles } from '../../workers/uploads/payload.ts';
import { makePlace } from '../support/place.ts';
import { AWKWARD, AWKWARD_HASH, browserHash, type Tree, writeTree } from './trees.ts';

test("the manifest hash equals the browser's: a-b before a/b, non-ASCII names, empty files", async () => {
  const place = await makePlace();
  const root = writeTree(place.path('up'), AWKWARD);
  mkdirSync(join(root, 'a/no file in it'));
  const { hash, files, bytes } = await payloadHash(root);
  expect(hash).toBe(AWKWARD_HASH);
  expect(hash).toBe(browserHash(AWKWARD));
  expect(files).toBe(12);
  expect(bytes).toBe(Object.values(AWKWARD).reduce((sum, one) => sum + Buffer.byteLength(one), 0));
});

test('the files come in the order of their whole paths as UTF-16 strings', async () => {
  const place = await makePlace();
  const root = writeTree(place.path('up'), AWKWARD);
  const paths = [...payloadFiles(root)].map(({ path }) => path);
  expect(paths).toEqual(Object.keys(AWKWARD).sort());
  expect(paths.indexOf('a-b')).toBeLessThan(paths.indexOf('a/b'));
  expect(paths.indexOf('🧬.fa')).toBeLessThan(paths.indexOf('\uffee'));
});

test('any tree gives the hash of the browser, more files than are held at a time too', async () => {
  const place = await makePlace();
  const pieces = ['a', 'b', '-', '.', ' ', '!', '0', 'é', '\u{1f9ec}', '\uff01', '~'];
  const files: Record<string, string> = {};
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed % below;
  };
  const word = (): string =>
    `n${Array.from({ length: 1 + random(3) }, () => pieces[random(pieces.length)]).join('')}`;
  // A folder's name ends in one that no file's name ends in: a path is never both.
  for (let count = 0; count < 12_000; count++) {
    const folders = Array.from({ length: random(3) }, () => `${word()}d`);
    files[[...folders, `${word()}${count % 500}f`].join('/')] = String(count);
  }
  const root = writeTree(place.path('up'), files);
  const done: number[] = [];
  const found = await payloadHash(root, { onProgress: ({ files: so_far }) => done.push(so_far) });
  expect(found.files).toBe(Object.keys(files).length);
  expect(found.hash).toBe(browserHash(files));
  expect(done.at(-1)).toBe(found.files);
});

test.each<[string, (files: Tree) => Tree]>([
  ['one byte is another', (files) => ({ ...files, 'a/b': 'slasH' })],
  ['a file has another name', ({ 'a-b': moved = '', ...rest }) => ({ ...rest, a_b: moved })],
  ['a file more is there', (files) => ({ ...files, more: '' })],
])('the hash is another when %s', async (_, change) => {
  const place = await makePlace();
  const root = writeTree(place.path('up'), change(AWKWARD));
  expect((await payloadHash(root)).hash).not.toBe(AWKWARD_HASH);
});

test('a symbolic link in an upload is refused by name, not followed', async () => {
  const place = await makePlace();
  const root = writeTree(place.path('up'), { 'deep/a': 'a' });
  writeTree(place.path('elsewhere'), { secret: 's' });
  symlinkSync(place.path('elsewhere/secret'), join(root, 'deep/link'));
  await expect(payloadHash(root)).rejects.toMatchObject({
    code: 'E_UPLOAD_INTEGRITY',
    message: expect.stringContaining('"deep/link" is a symbolic link'),
  });
});

test('digesting is left at once when its signal is aborted', async () => {
  const place = await makePlace();
  const root = writeTree(place.path('up'), AWKWARD);
  for (let copies = 0; copies < 40; copies++) appendFileSync(join(root, 'big'), AWKWARD.big ?? '');
  const stop = new AbortController();
  stop.abort(new Error('enough'));
  await expect(payloadHash(root, { signal: stop.signal })).rejects.toThrow('enough');
});

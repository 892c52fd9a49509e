import { execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { manifestFileRows } from '../../workers/content/file-rows.ts';
import {
  checkManifest,
  endManifest,
  type ManifestMember,
  ManifestWriter,
  readManifest,
} from '../../workers/content/manifest.ts';
import { makePlace } from '../support/place.ts';

const file = (path: string, more: Partial<ManifestMember> = {}): ManifestMember => ({
  path,
  type: 'file',
  size: 10,
  mode: 0o644,
  mtime: '1700000000123456789',
  digests: { blake3: 'b', md5: 'm' },
  offset: 512,
  ...more,
});

function write(path: string, members: Iterable<ManifestMember>): void {
  const writer = new ManifestWriter(path, ['blake3', 'md5']);
  for (const member of members) writer.add(member);
  endManifest(path, { ...writer.close(), bundle: { size: 1, digests: {} } });
}

const root: ManifestMember = { path: '.', type: 'directory', size: 0, mode: 0o755, mtime: '0' };

test('members come back as they were written, whatever their names', async () => {
  const place = await makePlace();
  const members = [
    root,
    file('new\nline'),
    file('quote"\\'),
    file('ünïcödé'),
    file('raw\udcff\udc80'),
    file('x'.repeat(4000)),
  ];
  write(place.path('m'), members);
  expect([...readManifest(place.path('m'))]).toEqual(members);
  expect(checkManifest(place.path('m')).counts).toEqual({
    members: 6,
    num_files: 5,
    num_directories: 0,
    bytes: 50,
  });
});

test('a manifest that was cut, at whatever byte, is E_BUNDLE_CORRUPT', async () => {
  const place = await makePlace();
  write(place.path('m'), [root, file('a'), file('b')]);
  const whole = readFileSync(place.path('m'));
  for (let size = 0; size < whole.length; size += 7) {
    writeFileSync(place.path('cut'), whole.subarray(0, size));
    expect(() => checkManifest(place.path('cut')), `after ${size} bytes`).toThrow(
      expect.objectContaining({ code: 'E_BUNDLE_CORRUPT' }),
    );
  }
});

test('an altered, added or removed line is E_BUNDLE_CORRUPT', async () => {
  const place = await makePlace();
  write(place.path('m'), [root, file('a'), file('b')]);
  const lines = readFileSync(place.path('m'), 'utf8').trimEnd().split('\n');
  const variants = [
    lines.map((line) => line.replace('"size":10', '"size":11')),
    lines.filter((_, index) => index !== 2),
    [...lines.slice(0, 2), ...lines.slice(1)],
    [...lines, lines[2]],
    lines.slice(1),
  ];
  for (const variant of variants) {
    writeFileSync(place.path('altered'), `${variant.join('\n')}\n`);
    expect(() => checkManifest(place.path('altered'))).toThrow(
      expect.objectContaining({ code: 'E_BUNDLE_CORRUPT' }),
    );
  }
});

/** Complete and proven by its last line, as whoever may write to an archive can make one. */
test('a line that names a place outside, or no possible value, is E_BUNDLE_CORRUPT', async () => {
  const place = await makePlace();
  const hostile: object[] = [
    { path: '../outside' },
    { path: '/etc/passwd' },
    { path: 'a/../../outside' },
    { path: './a' },
    { path: '' },
    { path: 'zero\0byte' },
    { path: ['a'] },
    { type: 'device' },
    { size: -1 },
    { size: '10' },
    { size: 1.5 },
    { size: 2 ** 60 },
    { mode: 0o100644 },
    { mtime: 17 },
    { mtime: '1e300' },
    { offset: -512 },
    { offset: 'far' },
    { digests: { blake3: 7 } },
    { digests: 'none' },
    { xattrs: { 'user.a': 1 } },
    { target: { toString: 'x' } },
    { hard_link: '../../outside' },
  ];
  for (const odd of hostile) {
    write(place.path('m'), [root, file('a', odd)]);
    expect(() => checkManifest(place.path('m')), JSON.stringify(odd)).toThrow(
      expect.objectContaining({ code: 'E_BUNDLE_CORRUPT' }),
    );
  }
});

test('an end that counts nothing is E_BUNDLE_CORRUPT', async () => {
  const place = await makePlace();
  for (const odd of [
    { counts: null },
    { counts: { members: '1' } },
    { bundle: {} },
    { bundle: { size: 1 } },
  ]) {
    const writer = new ManifestWriter(place.path('m'), ['blake3']);
    writer.add(root);
    endManifest(place.path('m'), { ...writer.close(), bundle: { size: 1, digests: {} }, ...(odd as object) });
    expect(() => checkManifest(place.path('m')), JSON.stringify(odd)).toThrow(
      expect.objectContaining({ code: 'E_BUNDLE_CORRUPT' }),
    );
  }
});

test('file rows come in batches, without directories and links to them, odd bytes shown', async () => {
  const place = await makePlace();
  const link: ManifestMember = { ...file('l'), type: 'symbolic link', target: 'a', digests: undefined };
  write(place.path('m'), [
    root,
    file('a\udcff'),
    file('literal \\xff'),
    link,
    { ...link, path: 'd', to_directory: true },
  ]);
  const batches = [];
  for await (const rows of manifestFileRows(place.path('m'), 2)) batches.push(rows);
  expect(batches.map((rows) => rows.map((row) => [row.path, row.type, row.md5]))).toEqual([
    [
      ['a\\xff', 'file', 'm'],
      ['literal \\x5cxff', 'file', 'm'],
    ],
    [['l', 'symbolic link', null]],
  ]);
});

test('a million members pass through a heap of 32 MB', async () => {
  const place = await makePlace();
  const module = new URL('../../workers/content/manifest.ts', import.meta.url).href;
  const script = `
    const { ManifestWriter, endManifest, checkManifest } = await import(${JSON.stringify(module)});
    const [path] = process.argv.slice(1);
    const writer = new ManifestWriter(path, ['blake3']);
    for (let index = 0; index < 1_000_000; index++)
      writer.add({ path: 'run/' + index, type: 'file', size: 1, mode: 420, mtime: '0', offset: index, digests: { blake3: 'x'.repeat(64) } });
    endManifest(path, { ...writer.close(), bundle: { size: 1, digests: {} } });
    console.log(checkManifest(path).counts.members);
  `;
  const args = ['--max-old-space-size=32', '--input-type=module', '-e', script, place.path('m')];
  expect(execFileSync(process.execPath, args, { encoding: 'utf8' }).trim()).toBe('1000000');
});

test('a manifest is not written through a link that stands in its place', async () => {
  const place = await makePlace();
  writeFileSync(place.path('precious'), 'as it was');
  symlinkSync(place.path('precious'), place.path('m'));
  expect(() => write(place.path('m'), [root])).toThrow('ELOOP');
  expect(readFileSync(place.path('precious'), 'utf8')).toBe('as it was');
});

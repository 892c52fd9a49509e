import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareTree } from '../../workers/content/compare/compare.ts';
import { readManifest } from '../../workers/content/manifest.ts';
import { type PackResult, packBundle } from '../../workers/content/pack/pack.ts';
import { fsPath } from '../../workers/content/path.ts';
import { unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { makePlace, type Place } from '../support/place.ts';
import { until } from '../support/until.ts';
import { fingerprint, writeTree } from '../tasks/landing.ts';
import { makeOddTree, makeSparse, portrait, sha256 } from './trees.ts';

async function pack(
  place: Place,
  source: string,
  name = 'bundle',
  signal?: AbortSignal,
): Promise<PackResult> {
  return packBundle({
    source,
    target: place.path(`${name}.tar`),
    manifest: place.path(`${name}.manifest`),
    digests: { member: ['blake3', 'md5', 'sha256'], bundle: ['sha256', 'md5'] },
    ...(signal === undefined ? {} : { signal }),
  });
}

test('GNU tar extracts the bundle to the same tree, whatever the names', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  makeOddTree(source);
  const result = await pack(place, source);
  const out = place.dir('out');
  execFileSync('tar', ['xpf', place.path('bundle.tar'), '-C', out]);
  // tar headers hold whole seconds.
  expect(portrait(out, { times: false })).toEqual(portrait(source, { times: false }));
  const files = execFileSync('find', [source, '-type', 'f', '-o', '-type', 'l', '-not', '-xtype', 'd'], {
    encoding: 'latin1',
  });
  expect(result.num_files).toBe(files.replace('new\nline', '').trimEnd().split('\n').length);
});

test('GNU tar lists the bundle without a warning, members start with ./ and the first is ./', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  await pack(place, place.path('source'));
  const listed = execFileSync('sh', ['-c', 'tar tvf "$0" 2>&1', place.path('bundle.tar')], {
    encoding: 'latin1',
  });
  expect(listed).not.toMatch(/^tar:/m);
  const names = execFileSync('tar', ['tf', place.path('bundle.tar')], { encoding: 'latin1' })
    .trimEnd()
    .split('\n');
  expect(names[0]).toBe('./');
  expect(names.every((name) => name.startsWith('./'))).toBe(true);
});

test('size and digests of the result are those of the bundle on the disk', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  const result = await pack(place, place.path('source'));
  expect(result.size).toBe(statSync(place.path('bundle.tar')).size);
  expect(result.digests.sha256).toBe(sha256(readFileSync(place.path('bundle.tar'))));
  const md5 = execFileSync('md5sum', [place.path('bundle.tar')], { encoding: 'utf8' }).split(' ')[0];
  expect(result.digests.md5).toBe(md5);
});

test('the manifest tells each file its digest and where its bytes lie in the bundle', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  await pack(place, place.path('source'));
  const bundle = openSync(place.path('bundle.tar'), 'r');
  let checked = 0;
  for (const member of readManifest(place.path('bundle.manifest'))) {
    if (member.type !== 'file') continue;
    const path = fsPath(`${place.path('source')}/${member.path}`);
    const content = readFileSync(path);
    expect(member.digests?.sha256).toBe(sha256(content));
    expect(member.mtime).toBe(String(statSync(path, { bigint: true }).mtimeNs));
    if (member.sparse === true) continue;
    const recalled = Buffer.alloc(member.size);
    readSync(bundle, recalled, 0, member.size, member.offset ?? -1);
    expect(recalled.equals(content)).toBe(true);
    checked += 1;
  }
  closeSync(bundle);
  expect(checked).toBeGreaterThan(20);
});

test('packing the same tree twice gives the same bytes', async () => {
  const place = await makePlace();
  makeOddTree(place.dir('source'));
  const first = await pack(place, place.path('source'), 'one');
  const second = await pack(place, place.path('source'), 'two');
  expect(second).toEqual(first);
  expect(readFileSync(place.path('two.manifest')).equals(readFileSync(place.path('one.manifest')))).toBe(
    true,
  );
});

test('a file under several names is stored once, and stays one file for GNU tar and for us', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  writeTree(source, { 'a/one': randomBytes(200_000), 'b/other': 'alone', empty: '' });
  for (const name of ['a/two', 'b/three', `b/${'l'.repeat(120)}`])
    linkSync(join(source, 'a/one'), join(source, name));
  linkSync(join(source, 'empty'), join(source, 'empty too'));
  linkSync(join(source, 'b/other'), place.path('outside of the dataset'));
  const bundle = place.path('bundle.tar');
  const manifest = place.path('manifest');
  const { size, num_files, bytes } = await packBundle({
    source,
    target: bundle,
    manifest,
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  expect(size).toBeLessThan(230_000);
  expect([num_files, bytes]).toEqual([7, 800_005]);
  const lines = [...readManifest(manifest)].filter(({ type }) => type === 'file');
  const first = lines.find(({ path }) => path === 'a/one');
  const links = lines.filter(({ hard_link }) => hard_link === 'a/one');
  expect(links.map(({ path }) => path)).toEqual(['a/two', `b/${'l'.repeat(120)}`, 'b/three']);
  for (const { offset, digests, size: of } of links)
    expect([offset, digests, of]).toEqual([first?.offset, first?.digests, 200_000]);

  const names = ['a/one', 'a/two', 'b/three', `b/${'l'.repeat(120)}`];
  const inodes = (folder: string) => new Set(names.map((name) => statSync(join(folder, name)).ino));
  const byTar = place.dir('tar');
  execFileSync('tar', ['-xf', bundle, '-C', byTar]);
  const ours = place.dir('ours');
  await unpackBundle({ bundle, target: ours, manifest });
  for (const folder of [byTar, ours]) {
    expect(inodes(folder).size).toBe(1);
    expect(statSync(join(folder, 'b/other')).nlink).toBe(1);
    expect(fingerprint(folder)).toBe(fingerprint(source));
  }
  const { problems } = await compareTree({ root: ours, manifest, level: 'readback' });
  expect(problems).toEqual([]);
});

test('the time of a large file is in the bundle to the nanosecond, that of every member in the manifest', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  writeTree(source, { large: randomBytes(70_000), small: 'x' });
  for (const name of ['large', 'small'])
    execFileSync('touch', ['-d', '2024-02-29 12:34:56.123456789 UTC', join(source, name)]);
  const bundle = place.path('bundle.tar');
  const manifest = place.path('manifest');
  await packBundle({ source, target: bundle, manifest, digests: { member: ['blake3'], bundle: ['blake3'] } });
  const target = place.dir('tar');
  execFileSync('tar', ['-xf', bundle, '-C', target]);
  const time = (name: string) => statSync(join(target, name), { bigint: true }).mtimeNs % 1_000_000_000n;
  expect([time('large'), time('small')]).toEqual([123_456_789n, 0n]);
  for (const { type, mtime } of readManifest(manifest))
    if (type === 'file') expect(mtime).toBe('1709210096123456789');
});

test('holes are not stored, and GNU tar restores them', async () => {
  const place = await makePlace();
  makeSparse(join(place.dir('source'), 'big'), 100_000_000, [0, 50_000_000]);
  const result = await pack(place, place.path('source'));
  expect(result.bytes).toBe(100_000_000);
  expect(result.size).toBeLessThan(100_000);
  const out = place.dir('out');
  execFileSync('tar', ['xf', place.path('bundle.tar'), '-C', out]);
  execFileSync('cmp', [join(out, 'big'), place.path('source/big')]);
  expect(statSync(join(out, 'big')).blocks).toBeLessThan(200);
});

test('a file that grows while it is read fails the step by its name', async () => {
  const place = await makePlace();
  const source = place.dir('source');
  writeFileSync(join(source, 'steady'), Buffer.alloc(60_000_000, 'a'));
  const script = 'exec 3>>"$0"; while :; do printf x >&3; done';
  const writer = spawn('sh', ['-c', script, join(source, 'steady')], { stdio: 'ignore' });
  try {
    await until(() => statSync(join(source, 'steady')).size > 60_000_000, { what: 'the writer' });
    await expect(pack(place, source)).rejects.toMatchObject({
      code: 'E_SOURCE_CHANGED',
      fields: { path: 'steady' },
    });
  } finally {
    writer.kill('SIGKILL');
    await new Promise((resolve) => writer.once('close', resolve));
  }
});

test('a FIFO is refused by name, a missing origin is told apart', async () => {
  const place = await makePlace();
  execFileSync('mkfifo', [join(place.dir('source'), 'pipe')]);
  await expect(pack(place, place.path('source'))).rejects.toMatchObject({
    code: 'E_INSPECTION',
    fields: { problems: [['pipe', 'is neither file, directory nor symbolic link']] },
  });
  await expect(pack(place, place.path('none'))).rejects.toMatchObject({ code: 'E_ORIGIN_MISSING' });
});

test('a full disk is E_NO_SPACE with the path', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'data'), Buffer.alloc(1_000_000));
  const packed = packBundle({
    source: place.path('source'),
    target: '/dev/full',
    manifest: place.path('manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  await expect(packed).rejects.toMatchObject({ code: 'E_NO_SPACE', fields: { path: '/dev/full' } });
});

test('aborting stops both threads before the promise settles', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('source'), 'data'), Buffer.alloc(200_000_000));
  const abort = new AbortController();
  const packed = pack(place, place.path('source'), 'bundle', abort.signal);
  await until(() => statSync(place.path('bundle.tar'), { throwIfNoEntry: false })?.size, {
    what: 'first bytes',
  });
  abort.abort(new Error('paused by a person'));
  await expect(packed).rejects.toThrow('paused by a person');
  const size = statSync(place.path('bundle.tar')).size;
  expect(size).toBeLessThan(200_000_000);
  rmSync(place.path('source'), { recursive: true });
  expect(statSync(place.path('bundle.tar')).size).toBe(size);
});

test('progress moves inside of one large file, when packing and when unpacking', async () => {
  const place = await makePlace();
  const size = 500_000_000;
  writeFileSync(join(place.dir('source'), 'data'), Buffer.alloc(size, 1));
  const digests = { member: ['md5' as const], bundle: ['md5' as const] };
  const [packing, unpacking]: number[][] = [[], []];
  const watch = (seen: number[] | undefined) => ({
    onProgress: ({ bytes }: { bytes: number }) => void seen?.push(bytes),
  });
  const [target, manifest] = [place.path('bundle.tar'), place.path('manifest')];
  await packBundle({ source: place.path('source'), target, manifest, digests, ...watch(packing) });
  await unpackBundle({
    bundle: target,
    target: place.dir('out'),
    manifest,
    digests: ['md5'],
    ...watch(unpacking),
  });
  for (const seen of [packing, unpacking]) {
    expect(seen?.some((bytes) => bytes > 0 && bytes < size)).toBe(true);
  }
  // With the folder itself, as the inspection weighs it.
  expect(packing?.at(-1)).toBe(size + statSync(place.path('source')).size);
  expect(unpacking?.at(-1)).toBe(statSync(target).size);
});

test('an empty folder makes a bundle that tar accepts', async () => {
  const place = await makePlace();
  const result = await pack(place, place.dir('source'));
  expect(result).toMatchObject({ num_files: 0, num_directories: 0, bytes: 0, members: 1 });
  mkdirSync(place.path('out'));
  expect(execFileSync('tar', ['tf', place.path('bundle.tar')], { encoding: 'utf8' })).toBe('./\n');
});

/** An unpacking process that is killed anywhere, and the next one that goes on with what it left. */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { type RemoteBundle, unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { makePlace, type Place } from '../support/place.ts';
import { fingerprint, writeTree } from '../tasks/landing.ts';
import { makeSparse, smallFiles } from './trees.ts';
import { inProcess } from './resume.ts';

const MB = 1024 * 1024;

interface Work {
  readonly place: Place;
  readonly source: string;
  readonly options: {
    bundle: string;
    manifest: string;
    target: string;
    copy: string;
    digests: readonly ('md5' | 'sha256')[];
    expect: { size: number; digests: Record<string, string> };
  };
}

async function work(): Promise<Work> {
  const place = await makePlace();
  const source = place.path('source');
  const small = (folder: string) => smallFiles(folder, 150, () => 40_000);
  writeTree(source, {
    ...small('a'),
    'b/huge.bin': randomBytes(20 * MB + 777),
    'b/link': { link: 'huge.bin' },
    'ro/inside': 'kept from being written',
    bare: null,
    ...small('c'),
    'd.bin': randomBytes(6 * MB),
  });
  makeSparse(join(source, 'b/holes'), 3 * MB, [0, MB]);
  chmodSync(join(source, 'ro/inside'), 0o444);
  chmodSync(join(source, 'ro'), 0o555);
  return packed(place, source);
}

/** A file with small holes, one of 68 MiB, which is large enough to ask what is allocated in it, and 24 MiB of data. */
async function sparseWork(): Promise<Work> {
  const place = await makePlace();
  const source = place.path('source');
  writeTree(source, { 'a/small': 'before', 'z/small': 'after' });
  makeSparse(join(source, 'holes.bin'), 170 * MB + 5, []);
  const fd = openSync(join(source, 'holes.bin'), 'r+');
  for (let part = 0; part < 24; part++)
    writeSync(fd, randomBytes(MB + 777), 0, MB + 777, part * 3 * MB + (part > 11 ? 66 * MB : 0));
  closeSync(fd);
  return packed(place, source);
}

async function packed(place: Place, source: string): Promise<Work> {
  const bundle = place.path('bundle.tar');
  const manifest = place.path('manifest');
  const digests = { member: ['blake3'], bundle: ['blake3', 'md5', 'sha256'] } as const;
  const { size, digests: known } = await packBundle({ source, target: bundle, manifest, digests });
  const target = place.path('staged/.run.partial-1');
  mkdirSync(target, { recursive: true });
  const expected = { size, digests: known };
  const options = {
    bundle,
    manifest,
    target,
    copy: place.path('staged/.copy.partial-1'),
    digests: [],
    expect: expected,
  };
  return { place, source, options };
}

async function killed({ options }: Work, bytes: number): Promise<void> {
  for (let tries = 0; tries < 5; tries++) {
    rmSync(options.target, { recursive: true, force: true });
    rmSync(options.copy, { force: true });
    mkdirSync(options.target);
    if ((await inProcess('unpack', { ...options, resume: true }, bytes)).killed) return;
  }
  throw new Error('it ended before it could be killed, five times');
}

function expectWhole({ place, source, options }: Work): void {
  expect(fingerprint(options.target)).toBe(fingerprint(source));
  expect(readFileSync(options.copy).equals(readFileSync(options.bundle))).toBe(true);
  expect(readdirSync(place.path('staged')).sort()).toEqual([
    '.copy.partial-1',
    '.run.partial-1',
    '.run.partial-1.of',
  ]);
  expect(statSync(join(options.target, 'b/huge.bin')).mtimeMs).toBeCloseTo(
    statSync(join(source, 'b/huge.bin')).mtimeMs,
    2,
  );
}

const sizeOfTree = (folder: string): number =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);

test.each([1, 5, 9, 16, 22, 27, 31])(
  'killed after %i MiB, the next process writes only what is missing, and nothing twice',
  async (mib) => {
    const at = await work();
    await killed(at, mib * MB);
    const tree = sizeOfTree(at.options.target);
    const copy = statSync(at.options.copy, { throwIfNoEntry: false })?.size ?? 0;
    const { written } = await inProcess('unpack', { ...at.options, resume: true }, null);
    expectWhole(at);
    const whole = sizeOfTree(at.source) + statSync(at.options.bundle).size;
    // A MiB for what is no content: lists, the note, what the process says.
    expect(written).toBeLessThanOrEqual(whole - tree - copy + MB);
  },
);

test.each([5, 13, 21])(
  'killed after %i MiB of a file with holes, only what is missing of that file is written',
  async (mib) => {
    const at = await sparseWork();
    await killed(at, mib * MB);
    const allocated = statSync(join(at.options.target, 'holes.bin')).blocks * 512;
    const copy = statSync(at.options.copy).size;
    const { written } = await inProcess('unpack', { ...at.options, resume: true }, null);
    expect(fingerprint(at.options.target)).toBe(fingerprint(at.source));
    const { size } = statSync(at.options.bundle);
    expect(allocated).toBeGreaterThan(2 * MB);
    expect(written).toBeLessThanOrEqual(2 * size - allocated - copy + MB);
  },
);

test.each([
  ['a small hole', 2 * MB],
  ['a large one', 70 * MB],
  ['the last one', 169 * MB],
])('bytes that stand in %s of what was kept do not stay', async (_, place) => {
  const at = await sparseWork();
  await killed(at, 20 * MB);
  const fd = openSync(join(at.options.target, 'holes.bin'), 'r+');
  writeSync(fd, Buffer.from('left'), 0, 4, place);
  closeSync(fd);
  for (const verify of ['bundle', 'member'] as const) {
    await unpackBundle({ ...at.options, verify, resume: true });
    expect(fingerprint(at.options.target)).toBe(fingerprint(at.source));
  }
});

test('killed when all its links stood already, the next process makes them again', async () => {
  const place = await makePlace();
  const source = place.path('source');
  writeTree(source, { 'a/one': 'of two names', 'b/link': { link: '../a/one' } });
  linkSync(join(source, 'a/one'), join(source, 'z'));
  const at = await packed(place, source);
  for (let times = 0; times < 2; times++) {
    await unpackBundle({ ...at.options, resume: true });
    expect(fingerprint(at.options.target)).toBe(fingerprint(source));
    expect(statSync(join(at.options.target, 'z')).nlink).toBe(2);
  }
});

test('killed when its folders may not be written any more, it goes on for a user who is not root', async ({
  skip,
}) => {
  if (process.getuid?.() !== 0) skip('NOT TESTED: needs root, to become another user');
  const place = await makePlace();
  const source = place.path('source');
  writeTree(source, { 'ro/one': 'x', 'ro/link': { link: 'one' }, 'ro/sub/two': 'y', shut: null });
  linkSync(join(source, 'ro/one'), join(source, 'ro/z'));
  chmodSync(join(source, 'ro/one'), 0o400);
  for (const folder of ['ro/sub', 'ro', 'shut'])
    chmodSync(join(source, folder), folder === 'shut' ? 0 : 0o555);
  const { options } = await packed(place, source);
  execFileSync('chown', ['-R', '65534:65534', place.folder]);
  const module = new URL('../../workers/content/unpack/unpack.ts', import.meta.url).href;
  const script = `
    const { unpackBundle } = await import(${JSON.stringify(module)});
    process.setgroups([]); process.setgid(65534); process.setuid(65534);
    for (let times = 0; times < 2; times++) await unpackBundle({ ...JSON.parse(process.argv[1]), resume: true });
  `;
  const args = ['--input-type=module', '-e', script, JSON.stringify(options)];
  const { stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(fingerprint(options.target)).toBe(fingerprint(source));
});

test('killed again and again, at last it is whole', async () => {
  const at = await work();
  for (const mib of [4, 9, 14, 20, 27]) await inProcess('unpack', { ...at.options, resume: true }, mib * MB);
  await inProcess('unpack', { ...at.options, resume: true }, null);
  expectWhole(at);
});

test('bits that were flipped in what was kept, in the tree and in the copy, do not stay', async () => {
  const at = await work();
  await killed(at, 24 * MB);
  const flip = (path: string, place: number): void => {
    const bytes = readFileSync(path);
    bytes[place] = (bytes[place] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  };
  flip(join(at.options.target, 'a/0003'), 20_000);
  flip(join(at.options.target, 'b/huge.bin'), 5 * MB);
  await unpackBundle({ ...at.options, resume: true });
  expectWhole(at);

  await killed(at, 24 * MB);
  flip(at.options.copy, 3 * MB);
  await unpackBundle({ ...at.options, resume: true });
  expectWhole(at);
});

test('a file that was cut or has grown where it was kept is whole again', async () => {
  const at = await work();
  await killed(at, 24 * MB);
  const cut = join(at.options.target, 'b/huge.bin');
  expect(statSync(cut).size).toBeGreaterThan(6 * MB);
  // In the middle of what is written at once, as after a power failure.
  truncateSync(cut, 5 * MB + 123);
  appendFileSync(join(at.options.target, 'a/0003'), 'more');
  await unpackBundle({ ...at.options, resume: true });
  expectWhole(at);
});

test('a bundle that is damaged itself is still called so', async () => {
  const at = await work();
  await killed(at, 10 * MB);
  const bytes = readFileSync(at.options.bundle);
  bytes[30 * MB] = (bytes[30 * MB] ?? 0) ^ 1;
  writeFileSync(at.options.bundle, bytes);
  await expect(unpackBundle({ ...at.options, resume: true })).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
  });
});

test('what another bundle left is not mixed in; nor are links, folders and files that stand in the way', async () => {
  const at = await work();
  await killed(at, 24 * MB);
  writeFileSync(`${at.options.target}.of`, 'another bundle');
  writeFileSync(join(at.options.target, 'a/foreign'), 'of another bundle');
  await unpackBundle({ ...at.options, resume: true });
  expectWhole(at);

  await killed(at, 24 * MB);
  const outside = at.place.path('outside');
  writeFileSync(outside, 'outside');
  rmSync(join(at.options.target, 'a/0001'));
  symlinkSync(outside, join(at.options.target, 'a/0001'));
  await unpackBundle({ ...at.options, resume: true });
  expectWhole(at);
  expect(readFileSync(outside, 'utf8')).toBe('outside');

  await killed(at, 24 * MB);
  const folder = at.place.dir('folder');
  rmSync(join(at.options.target, 'a'), { recursive: true });
  symlinkSync(folder, join(at.options.target, 'a'));
  await unpackBundle({ ...at.options, resume: true });
  expectWhole(at);
  expect(readdirSync(folder)).toEqual([]);
});

test('bytes that come from far are asked for only behind what the copy holds', async () => {
  const at = await work();
  await killed(at, 16 * MB);
  const kept = statSync(at.options.copy).size;
  const bytes = readFileSync(at.options.bundle);
  const asked: number[] = [];
  const remote: RemoteBundle = {
    name: 'far://away',
    size: bytes.length,
    open: async function* (offset) {
      asked.push(offset);
      for (let place = offset; place < bytes.length; place += 100_000)
        yield bytes.subarray(place, place + 100_000);
    },
  };
  await unpackBundle({ ...at.options, bundle: remote, resume: true });
  expect(asked).toEqual([kept]);
  expect(kept).toBeGreaterThan(10 * MB);
  expectWhole(at);
});

test('without a manifest it begins anew', async () => {
  const at = await work();
  await killed(at, 16 * MB);
  writeFileSync(join(at.options.target, 'a/foreign'), 'left');
  const { manifest: _, ...legacy } = at.options;
  await unpackBundle({ ...legacy, resume: true });
  expect(existsSync(join(at.options.target, 'a/foreign'))).toBe(false);
  expect(fingerprint(at.options.target)).toBe(fingerprint(at.source));
});

/** A process that unpacks a far bundle of which it keeps no copy is killed anywhere; the next one asks only for the rest. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { keptHeaders } from '../../workers/content/unpack/kept-headers.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { rebuildBeginning } from '../../workers/content/unpack/rebuild.ts';
import { type RemoteBundle, unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { makePlace, type Place } from '../support/place.ts';
import { fingerprint, writeTree } from '../tasks/landing.ts';
import { inProcess, type Outcome } from './resume.ts';
import { smallFiles } from './trees.ts';

const MB = 1024 * 1024;
/** What is noted at the latest after so much of the bundle (kept-headers.ts); a file longer than that is noted at once. */
const NOTED = 4 * MB;

interface Work {
  readonly place: Place;
  readonly source: string;
  readonly options: {
    bundle: string;
    manifest: string;
    target: string;
    source: string;
    expect: { size: number; digests: Record<string, string> };
  };
}

/** Small files, a large one, one with holes, names that need more than a header, hard links, a read-only folder. */
async function work(): Promise<Work> {
  const place = await makePlace();
  const source = place.path('source');
  const small = (folder: string) => smallFiles(folder, 200, (index) => 10_000 + index);
  writeTree(source, {
    ...small('a'),
    'b/huge.bin': randomBytes(20 * MB + 777),
    'b/link': { link: 'huge.bin' },
    [`b/${'long '.repeat(40)}/${'näme '.repeat(30)}`]: randomBytes(100_001),
    'ro/inside': 'kept from being written',
    bare: null,
    empty: '',
    ...small('c'),
    'd.bin': randomBytes(3 * MB),
  });
  const fd = openSync(join(source, 'b/holes.bin'), 'w');
  for (let part = 0; part < 4; part++) writeSync(fd, randomBytes(MB), 0, MB, part * 4 * MB + 8192);
  closeSync(fd);
  truncateSync(join(source, 'b/holes.bin'), 40 * MB + 5);
  linkSync(join(source, 'a/0007'), join(source, 'z-again'));
  linkSync(join(source, 'b/huge.bin'), join(source, 'z-huge'));
  chmodSync(join(source, 'ro/inside'), 0o444);
  chmodSync(join(source, 'ro'), 0o555);
  const bundle = place.path('bundle.tar');
  const manifest = place.path('manifest');
  const digests = { member: ['blake3'], bundle: ['blake3', 'md5'] } as const;
  const { size, digests: known } = await packBundle({ source, target: bundle, manifest, digests });
  const target = place.path('staged/.run.partial-1');
  mkdirSync(target, { recursive: true });
  const expected = { size, digests: known };
  return { place, source, options: { bundle, manifest, target, source: 'far://a', expect: expected } };
}

const goOn = ({ options }: Work, kill_at: Parameters<typeof inProcess>[2] = null): Promise<Outcome> =>
  inProcess('far', { ...options, resume: true }, kill_at);

async function killed(at: Work, bytes: number): Promise<void> {
  const { target } = at.options;
  for (let tries = 0; tries < 5; tries++) {
    rmSync(target, { recursive: true, force: true });
    rmSync(`${target}.of`, { force: true });
    mkdirSync(target);
    if ((await goOn(at, bytes)).killed) return;
  }
  throw new Error('it ended before it could be killed, five times');
}

/** As unpackBundle takes it in this process, counted. */
function far({ options }: Work, path = options.bundle): { bundle: RemoteBundle; asked: number[] } {
  const bytes = readFileSync(path);
  const asked: number[] = [];
  const open = async function* (offset: number): AsyncGenerator<Buffer> {
    asked.push(offset);
    for (let at = offset; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
  };
  return { bundle: { name: 'far://away', size: bytes.length, open }, asked };
}

function expectWhole({ source, options }: Work): void {
  expect(fingerprint(options.target)).toBe(fingerprint(source));
  const inode = (name: string): number => statSync(join(options.target, name)).ino;
  expect(inode('z-again')).toBe(inode('a/0007'));
  expect(inode('z-huge')).toBe(inode('b/huge.bin'));
}

test.each([1, 9, 18, 23, 26, 28, 30])(
  'killed after %i MiB, the next process asks for what follows, and proves the whole',
  async (mib) => {
    const at = await work();
    await killed(at, mib * MB);
    const { asked, came, killed: again } = await goOn(at);
    expect(again).toBe(false);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toBeGreaterThan(mib * MB - NOTED);
    expect(came).toBe(at.options.expect.size - (asked[0] as number));
    expectWhole(at);
  },
);

test('what is put together of headers and files is the beginning of the bundle, byte for byte', async () => {
  const at = await work();
  await killed(at, 26 * MB);
  const pieces: Buffer[] = [];
  for (const piece of rebuildBeginning(at.options.target)) pieces.push(Buffer.from(piece));
  const bytes = Buffer.concat(pieces);
  expect(bytes.length).toBeGreaterThan(26 * MB - NOTED);
  expect(bytes.equals(readFileSync(at.options.bundle).subarray(0, bytes.length))).toBe(true);
});

test('it ends where anything else stands in place of a file, also a link that leads to the same bytes', async () => {
  const at = await work();
  await killed(at, 26 * MB);
  const { target, bundle } = at.options;
  const file = join(target, 'b/huge.bin');
  const elsewhere = at.place.path('elsewhere');
  renameSync(file, elsewhere);
  const { offset } = memberOf(at, 'b/huge.bin');
  for (const stand of [
    () => symlinkSync(elsewhere, file),
    () => mkdirSync(file),
    () => void execFileSync('mkfifo', [file]), // Whose opening waits for a writer.
  ]) {
    stand();
    let length = 0;
    for (const piece of rebuildBeginning(target)) length += piece.length;
    expect(length).toBe(offset);
    expect(readdirSync('/proc/self/fd').map(linkOf)).not.toContain(file);
    rmSync(file, { recursive: true });
  }
  expect(readFileSync(bundle).indexOf(readFileSync(elsewhere).subarray(0, 4096))).toBe(offset);
});

test('in the middle of one large file it goes on in that file', async () => {
  const at = await work();
  const { offset, size } = memberOf(at, 'b/huge.bin');
  await killed(at, offset + 12 * MB);
  const there = statSync(join(at.options.target, 'b/huge.bin')).size;
  const { asked } = await goOn(at);
  expect(there).toBeLessThan(size);
  expect(asked).toEqual([offset + there]);
  expectWhole(at);
});

test('killed again and again, each goes on from the one before, and at last it is whole', async () => {
  const at = await work();
  let before = 0;
  for (const mib of [9, 18, 25, 29]) {
    await goOn(at, mib * MB);
    const { offset } = keptHeaders(at.options.target);
    expect(offset).toBeGreaterThanOrEqual(before);
    before = offset;
  }
  // Also of one that was killed before it had come as far as the one before it.
  await goOn(at, 2 * MB);
  expect(keptHeaders(at.options.target).offset).toBe(before);
  const { asked } = await goOn(at);
  expect(asked[0]).toBeGreaterThanOrEqual(before);
  expectWhole(at);
});

test('killed when all had come, it asks for the end mark alone', async () => {
  const at = await work();
  await goOn(at);
  const { size } = at.options.expect;
  const { bundle, asked } = far(at);
  await unpackBundle({ ...at.options, bundle, resume: true });
  expect(asked[0]).toBeGreaterThan(size - NOTED);
  expectWhole(at);
});

test('killed when its hard links stood, and once more within such a file, it still asks for the end alone', async () => {
  const at = await work();
  await goOn(at); // All is there, not published: as after a kill behind the links.
  const file = join(at.options.target, 'b/huge.bin');
  await goOn(at, { file, shorter_than: statSync(file).size });
  const { asked } = await goOn(at);
  expect(asked).toEqual([expect.any(Number)]);
  expect(asked[0]).toBeGreaterThan(at.options.expect.size - NOTED);
  expectWhole(at);
});

test('a bit that was flipped in what was kept is found, and does not stay', async () => {
  const at = await work();
  await killed(at, 26 * MB);
  flip(join(at.options.target, 'a/0003'), 5_000);
  const { bundle, asked } = far(at);
  await unpackBundle({ ...at.options, bundle, resume: true });
  expect(asked.at(-1)).toBe(0); // Begun anew.
  expectWhole(at);
});

test('without digests of members, the digest of the bundle finds it', async () => {
  const at = await work();
  await killed(at, 26 * MB);
  flip(join(at.options.target, 'b/huge.bin'), 5 * MB);
  const { bundle, asked } = far(at);
  await unpackBundle({ ...at.options, bundle, verify: 'bundle', resume: true });
  expect(asked).toEqual([expect.any(Number), 0]);
  expectWhole(at);
});

test('headers that are damaged, and files that are gone, are asked for again', async () => {
  const at = await work();
  await killed(at, 26 * MB);
  rmSync(join(at.options.target, 'a/0100'));
  const gone = far(at);
  await unpackBundle({ ...at.options, bundle: gone.bundle, resume: true });
  expect(gone.asked).toEqual([memberOf(at, 'a/0100').offset]);
  expectWhole(at);

  await killed(at, 26 * MB);
  flip(`${at.options.target}.headers`, 200);
  const { bundle } = far(at);
  await unpackBundle({ ...at.options, bundle, resume: true });
  expectWhole(at);
});

test('bytes that stand in a hole of what was kept do not stay', async () => {
  const at = await work();
  await killed(at, 26 * MB);
  const fd = openSync(join(at.options.target, 'b/holes.bin'), 'r+');
  writeSync(fd, Buffer.from('left'), 0, 4, 3 * MB);
  closeSync(fd);
  const { bundle } = far(at);
  await unpackBundle({ ...at.options, bundle, resume: true });
  expectWhole(at);
});

test('a bundle that is damaged, in what was kept or in what follows, is still called so', async () => {
  for (const place of [5 * MB, 30 * MB]) {
    const at = await work();
    flip(at.options.bundle, place);
    await inProcess('far', { ...at.options, resume: true }, 26 * MB).catch(() => undefined);
    const { bundle } = far(at);
    await expect(unpackBundle({ ...at.options, bundle, resume: true })).rejects.toMatchObject({
      code: 'E_BUNDLE_CORRUPT',
    });
  }
});

test('another bundle, and another copy of this one, are begun anew', async () => {
  const at = await work();
  await killed(at, 26 * MB);
  const other = far(at);
  await unpackBundle({ ...at.options, bundle: other.bundle, source: 'far://b', resume: true });
  expect(other.asked).toEqual([0]);
  expectWhole(at);

  await killed(at, 26 * MB);
  writeFileSync(join(at.source, 'a/0001'), randomBytes(10_001));
  const again = { target: at.place.path('again.tar'), manifest: at.place.path('again') };
  const digests = { member: ['blake3'], bundle: ['blake3', 'md5'] } as const;
  const packed = await packBundle({ source: at.source, ...again, digests });
  const { bundle, asked } = far(at, again.target);
  const changed = { manifest: again.manifest, expect: { size: packed.size, digests: packed.digests } };
  await unpackBundle({ ...at.options, ...changed, bundle, resume: true });
  expect(asked).toEqual([0]);
  expectWhole(at);
});

test('where nobody goes on, no headers are noted', async () => {
  const at = await work();
  const { bundle } = far(at);
  const { digests } = await unpackBundle({ ...at.options, bundle });
  expect(digests.md5).toBe(createHash('md5').update(readFileSync(at.options.bundle)).digest('hex'));
  expect(existsSync(`${at.options.target}.headers`)).toBe(false);
  expectWhole(at);
});

function memberOf({ options }: Work, path: string): { offset: number; size: number } {
  const lines = readFileSync(options.manifest, 'utf8').trim().split('\n').slice(1, -1);
  const found = lines
    .map((line) => JSON.parse(line) as { path: string; offset: number; size: number })
    .find((member) => member.path === path);
  if (found === undefined) throw new Error(`no member ${path}`);
  return found;
}

/** What a descriptor of this process leads to. */
function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ''; // Of the list itself, which is closed by now.
  }
}

function flip(path: string, place: number): void {
  const bytes = readFileSync(path);
  bytes[place] = (bytes[place] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

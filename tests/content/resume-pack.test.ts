/** A packing process that is killed anywhere, and the next one that goes on with what it left. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  ftruncateSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { holesPath, ledgerPath, linesOf, marksPath } from '../../workers/content/pack/checkpoint.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { makePlace, type Place } from '../support/place.ts';
import { writeTree } from '../tasks/landing.ts';
import { inProcess } from './resume.ts';
import { smallFiles } from './trees.ts';

const MB = 1024 * 1024;
const SET_ATTRIBUTE = 'import os, sys; os.setxattr(sys.argv[1], "user.seen", b"yes")';
const SEGMENT = 2 * MB;

interface Work {
  readonly place: Place;
  readonly source: string;
  readonly options: Record<string, unknown> & { target: string; manifest: string };
}

/** Small files, a large one in the middle, links, and small ones again: 38 MiB. */
/** Slow digests: the kill is to come before the end. */
async function work(
  digests = { member: ['blake3', 'md5', 'sha256'], bundle: ['blake3', 'md5', 'sha256'] },
): Promise<Work> {
  const place = await makePlace();
  const source = place.path('source');
  const small = (folder: string, count: number) => smallFiles(folder, count, () => 40_000);
  writeTree(source, {
    ...small('a', 150),
    'b/huge.bin': randomBytes(20 * MB + 777),
    'b/link': { link: 'huge.bin' },
    bare: null,
    ...small('c', 150),
    'd.bin': randomBytes(6 * MB),
  });
  const options = {
    source,
    target: place.path('half.tar'),
    manifest: place.path('half.ndjson'),
    digests,
    checkpoint_bytes: SEGMENT,
  };
  return { place, source, options };
}

/** A file with holes that has `mib` MiB of data in parts of 1 MiB and a little, the last one before a hole. */
async function sparseWork(mib: number): Promise<Work> {
  const at = await work({ member: ['md5', 'sha256'], bundle: ['md5', 'sha256'] });
  rmSync(at.source, { recursive: true });
  writeTree(at.source, { 'a/small': 'before', 'z/small': 'after' });
  const fd = openSync(join(at.source, 'holes.bin'), 'w');
  for (let part = 0; part < mib; part++) writeSync(fd, randomBytes(MB + 777), 0, MB + 777, part * 3 * MB);
  ftruncateSync(fd, mib * 3 * MB + 5);
  closeSync(fd);
  return at;
}

/** What an undisturbed process makes. */
async function whole({ place, options }: Work): Promise<{ bundle: Buffer; manifest: string }> {
  const target = place.path('whole.tar');
  const manifest = place.path('whole.ndjson');
  await packBundle({ ...(options as never as Parameters<typeof packBundle>[0]), target, manifest });
  return { bundle: readFileSync(target), manifest: readFileSync(manifest, 'utf8') };
}

function expectSame({ options }: Work, { bundle, manifest }: { bundle: Buffer; manifest: string }): void {
  expect(readFileSync(options.target).equals(bundle)).toBe(true);
  expect(readFileSync(options.manifest, 'utf8')).toBe(manifest);
}

/** Killed so far on; at least once a mark was made. */
async function killed(at: Work, when: number | string): Promise<void> {
  // On a busy machine the kill may come too late; then once more, from nothing.
  for (let tries = 0; tries < 5; tries++) {
    for (const path of [at.options.target, at.options.manifest]) rmSync(path, { force: true });
    if ((await inProcess('pack', { ...at.options, resume: true }, when)).killed) return;
  }
  throw new Error('it ended before it could be killed, five times');
}

test.each([1, 5, 9, 16, 22, 27, 31])(
  'killed after %i MiB, the next process goes on from the last mark and makes the same bundle and manifest',
  async (mib) => {
    const at = await work();
    await killed(at, mib * MB);
    const there = statSync(at.options.target, { throwIfNoEntry: false })?.size ?? 0;
    const { written, kept } = await inProcess('pack', { ...at.options, resume: true }, null);
    const expected = await whole(at);
    expectSame(at, expected);
    const good = kept[0] ?? 0;
    // What was there and is no further than a segment (and what the threads had under way) from a mark is not written again.
    expect(good).toBeGreaterThanOrEqual(there - SEGMENT - 3 * MB);
    expect(written).toBeLessThanOrEqual(expected.bundle.length - good + 3 * MB);
  },
);

test.each([4, 21, 39])(
  'killed after %i MiB of a file with holes, it goes on within that file',
  async (mib) => {
    const at = await sparseWork(40);
    await killed(at, 3 * mib * MB); // Holes count as they are passed.
    const there = statSync(at.options.target).size;
    const { written, read, kept } = await inProcess('pack', { ...at.options, resume: true }, null);
    const expected = await whole(at);
    expectSame(at, expected);
    const good = kept[0] ?? 0;
    expect(good).toBeGreaterThanOrEqual(there - SEGMENT - 3 * MB);
    expect(good).toBeGreaterThan(0);
    expect(written).toBeLessThanOrEqual(expected.bundle.length - good + 3 * MB);
    // What was kept is read by both threads, the rest of the file once; its holes are not looked for again (40 MiB).
    expect(read).toBeLessThanOrEqual(expected.bundle.length + good + 15 * MB);
  },
);

test('killed while it looks for holes, it goes on with the search', async () => {
  const at = await sparseWork(120);
  const notes = holesPath(at.options.target);
  await killed(at, notes);
  const before = readFileSync(notes, 'utf8').split('\n').length;
  const places = (): number[] =>
    linesOf(notes)
      .slice(1)
      .map((line) => (line as { at: number }).at);
  const { read } = await inProcess('pack', { ...at.options, resume: true }, null);
  expectSame(at, await whole(at));
  expect(places().length).toBeGreaterThan(before - 2);
  expect(places()).toEqual(places().toSorted((a, b) => a - b)); // Added to, not begun again.
  expect(read).toBeLessThan(280 * MB);
});

test('holes that were found of a file that changed since are looked for again', async () => {
  const at = await sparseWork(20);
  await killed(at, 45 * MB);
  const fd = openSync(join(at.source, 'holes.bin'), 'r+');
  writeSync(fd, randomBytes(5000), 0, 5000, 2 * MB - 3000);
  closeSync(fd);
  await inProcess('pack', { ...at.options, resume: true }, null);
  expectSame(at, await whole(at));
});

test('killed again and again, at last it is whole', async () => {
  const at = await work();
  for (const mib of [4, 9, 14, 20, 27]) await inProcess('pack', { ...at.options, resume: true }, mib * MB);
  await inProcess('pack', { ...at.options, resume: true }, null);
  expectSame(at, await whole(at));
});

test('attributes and names more of a file, on both sides of the kill, are as in an undisturbed bundle', async () => {
  const at = await work();
  for (const name of ['a/0003', 'b/huge.bin', 'd.bin']) {
    linkSync(join(at.source, name), join(at.source, `${name} again`));
    linkSync(join(at.source, name), join(at.source, `e ${name.replace('/', ' ')}`));
  }
  for (const name of ['.', 'a/0001', 'a/0003', 'b/huge.bin', 'c', 'c/0149'])
    execFileSync('python3', ['-c', SET_ATTRIBUTE, join(at.source, name)]);
  await killed(at, 20 * MB);
  const { kept } = await inProcess('pack', { ...at.options, resume: true }, null);
  expect(kept[0]).toBeGreaterThan(0);
  const expected = await whole(at);
  expectSame(at, expected);
  expect(expected.manifest.match(/"xattrs"/g)).toHaveLength(6 + 4);
  expect(expected.manifest.match(/"hard_link"/g)).toHaveLength(6);
});

test('what was packed with other settings is not gone on with', async () => {
  const at = await work();
  await killed(at, 20 * MB);
  at.options.pax_times = 'all';
  const { kept } = await inProcess('pack', { ...at.options, resume: true }, null);
  expect(kept).toEqual([]);
  expectSame(at, await whole(at));
});

test('a flipped bit in what was kept is found, and packed again from the place before it', async () => {
  const at = await work();
  await killed(at, 24 * MB);
  const place = 9 * MB;
  const fd = openSync(at.options.target, 'r+');
  const byte = Buffer.alloc(1, ((readFileSync(at.options.target)[place] ?? 0) ^ 8) & 0xff);
  writeSync(fd, byte, 0, 1, place);
  closeSync(fd);
  const { kept } = await inProcess('pack', { ...at.options, resume: true }, null);
  expect(kept.length).toBeGreaterThanOrEqual(2);
  expect(kept.at(-1)).toBeLessThanOrEqual(place);
  expect(kept.at(-1)).toBeGreaterThan(place - 2 * SEGMENT);
  expectSame(at, await whole(at));
});

test.each<[string, (source: string) => void]>([
  ['changed', (source) => writeFileSync(join(source, 'a/0007'), randomBytes(40_000))],
  ['grown', (source) => appendFileSync(join(source, 'a/0007'), 'more')],
  ['touched', (source) => utimesSync(join(source, 'a/0007'), 1, 1)],
  ['removed', (source) => rmSync(join(source, 'a/0007'))],
  ['renamed', (source) => renameSync(join(source, 'a/0007'), join(source, 'a/0007x'))],
  ['added', (source) => writeFileSync(join(source, 'a/0007a'), 'new')],
  [
    'replaced in the middle of the large file',
    (source) => {
      const bytes = readFileSync(join(source, 'b/huge.bin'));
      rmSync(join(source, 'b/huge.bin'));
      writeFileSync(join(source, 'b/huge.bin'), bytes);
    },
  ],
])('a source that was %s in between gives the bundle of what it is now', async (_, change) => {
  const at = await work();
  await killed(at, 17 * MB);
  change(at.source);
  await inProcess('pack', { ...at.options, resume: true }, null);
  expectSame(at, await whole(at));
});

test('marks of other digests, damaged lines and a manifest that is cut short are of no harm', async () => {
  const at = await work();
  await killed(at, 17 * MB);
  const other = { ...at, options: { ...at.options, digests: { member: ['md5'], bundle: ['blake3'] } } };
  expect((await inProcess('pack', { ...other.options, resume: true }, null)).kept).toEqual([]);
  expectSame(other, await whole(other));

  await killed(at, 17 * MB);
  const [first] = linesOf(ledgerPath(at.options.target)) as [{ offset: number }];
  const lines = readFileSync(ledgerPath(at.options.target), 'utf8').split('\n');
  writeFileSync(ledgerPath(at.options.target), `${lines[0]}\n{"offset":\n${lines.slice(1).join('\n')}`);
  appendFileSync(marksPath(at.options.target), '\0\0\0');
  const { kept } = await inProcess('pack', { ...at.options, resume: true }, null);
  expect(kept).toEqual([first.offset]);
  expectSame(at, await whole(at));

  await killed(at, 17 * MB);
  truncateSync(at.options.manifest, 200);
  expect((await inProcess('pack', { ...at.options, resume: true }, null)).kept).toEqual([]);
  expectSame(at, await whole(at));
});

test.each([
  ['where the data of the open file begin', marksPath, () => work(), 17 * MB, /"data_offset":\d+/g],
  ['a part of a file that is no hole', holesPath, () => sparseWork(40), 'notes', /"length":\d+/g],
  ['the name of what is noted', holesPath, () => sparseWork(40), 'notes', /"parts":/g],
] as const)('a note that was altered is not believed: %s', async (_, path, make, when, what) => {
  const at = await make();
  const notes = path(at.options.target);
  await killed(at, when === 'notes' ? notes : when);
  const text = readFileSync(notes, 'utf8');
  const altered = text.replace(what, (found) =>
    found.replace(/4|3|2|1|p/, (one) => (one === '1' ? '2' : '1')),
  );
  expect(altered).not.toBe(text);
  writeFileSync(notes, altered);
  await inProcess('pack', { ...at.options, resume: true }, null);
  expectSame(at, await whole(at));
});

test('without being asked to go on, it begins anew; a small dataset leaves no marks', async () => {
  const at = await work();
  await killed(at, 17 * MB);
  const { kept } = await inProcess('pack', at.options, null);
  expect(kept).toEqual([]);
  expectSame(at, await whole(at));
  const { checkpoint_bytes: _, ...usual } = at.options;
  await inProcess('pack', usual, 30 * MB);
  expect(existsSync(marksPath(at.options.target))).toBe(false);
});

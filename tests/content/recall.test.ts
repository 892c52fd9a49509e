import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createArchiveReads } from '../support/archive-reads.ts';
import { createHasher, feedZeros } from '../../workers/content/digest/digest.ts';
import {
  endManifest,
  type ManifestMember,
  ManifestWriter,
  readManifest,
} from '../../workers/content/manifest.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { recallMembers, type Recalled } from '../../workers/content/recall/recall.ts';
import { createAsked, nearNames } from '../../workers/content/recall/paths.ts';
import { askedPieces, MAX_SLACK_BYTES, type Range, rangesOf } from '../../workers/content/recall/plan.ts';
import { type RecallSurvey, refuseConflicts, surveyRecall } from '../../workers/content/recall/survey.ts';
import { openRecallTarget, standingIn } from '../../workers/content/recall/target.ts';
import { encodeSparseMap } from '../../workers/content/tar/sparse.ts';
import { flip } from '../support/archived.ts';
import { makePlace, type Place } from '../support/place.ts';
import { makeOddTree, makeSparse, portrait } from './trees.ts';

async function packed(make: (root: string) => void): Promise<Place> {
  const place = await makePlace();
  make(place.dir('source'));
  await packBundle({
    source: place.path('source'),
    target: place.path('bundle'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3', 'md5'], bundle: ['blake3'] },
  });
  return place;
}

interface Outcome extends Recalled {
  /** Shown paths of members that the bundle does not hold as archived. */
  readonly wrong: string[];
  readonly kept: number;
}

async function recall(
  place: Place,
  paths: string[],
  { force = false, to = 'out', bundle = 'bundle' } = {},
): Promise<Outcome> {
  const target_path = place.path(to);
  const manifest = place.path('manifest');
  const asked = createAsked(paths);
  const survey = await surveyRecall({ manifest, asked, to: target_path });
  refuseConflicts(survey, { force });
  const reads = createArchiveReads(place.path(bundle));
  const target = await openRecallTarget(target_path, { force });
  const wrong: string[] = [];
  try {
    const recalled = await recallMembers({
      manifest,
      asked,
      target,
      read: reads.read,
      done: survey.done,
      onDamage: async (piece, error) => {
        expect(error).toMatchObject({ code: 'E_BUNDLE_CORRUPT', class: 'operator' });
        wrong.push(piece.member.path);
      },
    });
    await target.complete();
    const stored = survey.range_bytes;
    expect(reads.bytes()).toBeLessThanOrEqual(stored);
    return { ...recalled, wrong, kept: survey.kept };
  } finally {
    await target.close();
  }
}

const memberOf = (place: Place, path: string): ManifestMember =>
  [...readManifest(place.path('manifest'))].find((member) => member.path === path) as ManifestMember;

const names = (folder: string): string[] => readdirSync(folder).toSorted();

describe('what is recalled', () => {
  test('everything: the same tree as the origin, names, bytes, modes, links, times, holes', async () => {
    const place = await packed(makeOddTree);
    const done = await recall(place, ['.']);
    expect(portrait(place.path('out'))).toEqual(portrait(place.path('source')));
    expect(statSync(place.path('out/holes')).blocks).toBe(statSync(place.path('source/holes')).blocks);
    expect(statSync(place.path('out/only a hole')).blocks).toBe(0);
    expect(done).toMatchObject({ wrong: [], failure: null, damaged: 0 });
  });

  const alone: [what: string, asked: string, path: string][] = [
    ['the first file', ' leading and trailing ', ' leading and trailing '],
    ['the last file', `${'\u00fc'.repeat(127)}x`, `${'\u00fc'.repeat(127)}x`],
    ['an empty file', 'empty', 'empty'],
    ['a file with holes', 'holes', 'holes'],
    ['a file that ends in a hole', 'ends in a hole', 'ends in a hole'],
    ['a name with a newline', 'new\nline', 'new\nline'],
    ['a name that reads like an option', '-rf', '-rf'],
    ['a name with quotes', `quotes ' " and \`ticks\` $HOME`, `quotes ' " and \`ticks\` $HOME`],
    ['a name with bytes that are no UTF-8', String.raw`l\xe4t\xff1`, 'l\udce4t\udcff1'],
    ['a name that spells an escape out', String.raw`back\slash \x5cxff`, String.raw`back\slash \xff`],
    ['a path with dots in it', './a/../read-only/./inside', 'read-only/inside'],
  ];
  test.each(alone)('%s alone, and nothing else', async (_, asked, path) => {
    const place = await packed(makeOddTree);
    const done = await recall(place, [asked]);
    expect(done).toMatchObject({ files: 1, links: 0, directories: 0, wrong: [] });
    const [name = ''] = readdirSync(place.path('out'), {
      recursive: true,
      encoding: 'latin1',
      withFileTypes: true,
    })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name));
    const got = readFileSync(Buffer.from(name, 'latin1'));
    const member = memberOf(place, path);
    const hasher = createHasher(['blake3', 'md5']);
    hasher.update(got);
    expect(hasher.digests()).toEqual(member.digests);
    const stats = lstatSync(Buffer.from(name, 'latin1'), { bigint: true });
    expect(Number(stats.mode) & 0o777).toBe(member.mode & 0o777);
    expect(Math.abs(Number(stats.mtimeNs - BigInt(member.mtime)))).toBeLessThan(1000);
    if (member.sparse === true) expect(Number(stats.blocks) * 512).toBeLessThan(member.size);
  });

  test('a link is recalled as a link, and its target only when that is asked for', async () => {
    const place = await packed(makeOddTree);
    await recall(place, ['link', 'a/outside', 'absolute']);
    expect(names(place.path('out'))).toEqual(['a', 'absolute', 'link']);
    expect(readlinkSync(place.path('out/link'))).toBe('plain.txt');
    expect(readlinkSync(place.path('out/absolute'))).toBe('/etc/hostname');
  });

  test('a folder with all below it, empty ones too', async () => {
    const place = await packed(makeOddTree);
    await recall(place, ['level-0', 'empty folder/', 'read-only']);
    expect(names(place.path('out'))).toEqual(['empty folder', 'level-0', 'read-only']);
    expect(statSync(place.path('out/empty folder')).mtimeMs).toBe(1_000_000_000_000);
    expect(statSync(place.path('out/read-only')).mode & 0o777).toBe(0o555);
    for (const folder of ['level-0', 'read-only'])
      expect(portrait(place.path('out', folder))).toEqual(portrait(place.path('source', folder)));
  });

  test('globs: within a folder, across folders, hidden files, and names that read like globs', async () => {
    const place = await packed((root) => {
      for (const folder of ['sub/deep', 'other']) mkdirSync(join(root, folder), { recursive: true });
      const files = [
        'sub/a.fastq.gz',
        'sub/b.fastq.gz',
        'sub/c.txt',
        'sub/.d.fastq.gz',
        'sub/deep/e.fastq.gz',
      ];
      for (const file of [...files, 'other/f.fastq.gz', 'x[1] (2).txt', 'x1 2.txt'])
        writeFileSync(join(root, file), file);
    });
    const taken = async (...paths: string[]): Promise<string[]> => {
      const asked = createAsked(paths);
      return [...readManifest(place.path('manifest'))]
        .filter((one) => asked.matches(one))
        .map(({ path }) => path);
    };
    expect(await taken('sub/*.fastq.gz')).toEqual(['sub/.d.fastq.gz', 'sub/a.fastq.gz', 'sub/b.fastq.gz']);
    expect(await taken('**/[!a-e].fastq.gz')).toEqual(['other/f.fastq.gz']);
    expect(await taken('s*')).toEqual(expect.arrayContaining(['sub', 'sub/c.txt', 'sub/deep/e.fastq.gz']));
    expect(await taken('*/{a,e,f}.fastq.gz')).toEqual(['other/f.fastq.gz', 'sub/a.fastq.gz']);
    expect(await taken('x[1] (2).txt')).toEqual(['x[1] (2).txt']);
    expect(await taken('x? (2).txt')).toEqual([]);
    const done = await recall(place, ['sub/*.fastq.gz', 'other']);
    expect(done).toMatchObject({ files: 4, directories: 1 });
    expect(names(place.path('out/sub'))).toEqual(['.d.fastq.gz', 'a.fastq.gz', 'b.fastq.gz']);
  });

  test('a hard link, which the manifest gives the place of its file, is recalled like one', async () => {
    const place = await packed((root) => {
      for (const [name, size] of [
        ['a', 5000],
        ['b', 9000],
        ['z', 100],
      ] as const)
        writeFileSync(join(root, name), Buffer.alloc(size, name));
    });
    const members = [...readManifest(place.path('manifest'))];
    const a = memberOf(place, 'a');
    rewriteManifest(place, [
      ...members.slice(0, 3),
      { ...a, path: 'linked', hard_link: 'a' },
      ...members.slice(3),
    ]);
    await recall(place, ['b', 'linked', 'z']);
    expect(names(place.path('out'))).toEqual(['b', 'linked', 'z']);
    expect(readFileSync(place.path('out/linked'))).toEqual(Buffer.alloc(5000, 'a'));
    expect(readFileSync(place.path('out/z'))).toEqual(Buffer.alloc(100, 'z'));
  });
});

function rewriteManifest(place: Place, members: readonly ManifestMember[], size?: number): void {
  const bundle = { size: size ?? statSync(place.path('bundle')).size, digests: {} };
  const writer = new ManifestWriter(place.path('manifest'), ['blake3']);
  for (const member of members) writer.add(member);
  endManifest(place.path('manifest'), { ...writer.close(), bundle });
}

describe('what is read', () => {
  test('neighbours in one range, distant files in their own, and little beside what was asked for', async () => {
    const place = await packed((root) => {
      for (let index = 10; index < 40; index++)
        writeFileSync(join(root, `file-${index}`), Buffer.alloc(200_000, index));
    });
    expect(await recall(place, ['file-1?'])).toMatchObject({ files: 10, ranges: 1 });
    // 10 and 14 are less than a MiB apart, 39 is not.
    const done = await recall(place, ['file-10', 'file-14', 'file-39'], { to: 'far' });
    expect(done).toMatchObject({ files: 3, ranges: 2 });
    expect(done.read_bytes).toBeLessThanOrEqual(600_000 + done.ranges * MAX_SLACK_BYTES);
  });

  test('of ten thousand small files no range holds more than a MiB that nobody asked for', async () => {
    const place = await makePlace();
    const files = Array.from({ length: 10_000 }, (_, index): ManifestMember => {
      const offset = 1024 + index * 1024;
      return {
        path: `f${String(index).padStart(5, '0')}`,
        type: 'file',
        size: 10,
        mode: 0o644,
        mtime: '0',
        offset,
      };
    });
    rewriteManifest(place, files, 20_000_000);
    const pieces = askedPieces(place.path('manifest'), createAsked(['.']));
    const ranges = [...rangesOf(pieces)].filter((one): one is Range => 'pieces' in one);
    expect(ranges.reduce((sum, { pieces: { length } }) => sum + length, 0)).toBe(10_000);
    for (const { start, end, pieces: own } of ranges)
      expect(end - start - own.length * 10).toBeLessThanOrEqual(MAX_SLACK_BYTES);
    expect(ranges.length).toBeLessThan(12);
  });

  test('beyond 4 GiB, in the bundle and in a sparse file', async () => {
    const place = await makePlace();
    const far = 5 * 1024 ** 3;
    const data = Buffer.alloc(300_000, 'far');
    const size = 4 * 1024 ** 3 + 5000;
    const extent = { offset: 4 * 1024 ** 3 + 100, length: 1000 };
    const map = encodeSparseMap([extent], size);
    const sparse_at = far + 300_032 + 512;
    const fd = openSync(place.path('bundle'), 'w');
    writeSync(fd, data, 0, data.length, far);
    writeSync(fd, Buffer.concat([map, Buffer.alloc(1000, 's')]), 0, map.length + 1000, sparse_at);
    ftruncateSync(fd, sparse_at + 10_240);
    closeSync(fd);
    const whole = createHasher(['blake3']);
    whole.update(data);
    const holes = createHasher(['blake3']);
    feedZeros(holes, extent.offset);
    holes.update(Buffer.alloc(1000, 's'));
    feedZeros(holes, size - extent.offset - 1000);
    const common = { type: 'file', mode: 0o644, mtime: '1000000000000000000' } as const;
    rewriteManifest(place, [
      { ...common, path: 'far', size: data.length, offset: far, digests: whole.digests() },
      { ...common, path: 'huge', size, offset: sparse_at, sparse: true, digests: holes.digests() },
    ]);
    expect(await recall(place, ['.'])).toMatchObject({ files: 2, wrong: [], ranges: 1 });
    expect(readFileSync(place.path('out/far'))).toEqual(data);
    expect(statSync(place.path('out/huge'))).toMatchObject({ size });
    expect(statSync(place.path('out/huge')).blocks * 512).toBeLessThan(100_000);
  });
});

describe('damage', () => {
  test('a turned bit is told by its member, nothing of it is left, and the others are recalled', async () => {
    const place = await packed(makeOddTree);
    for (const path of ['a.txt', 'holes', 'size-1500000'])
      flip(place.path('bundle'), (memberOf(place, path).offset ?? 0) + (path === 'holes' ? 600 : 0));
    const done = await recall(place, ['.']);
    expect(done.wrong.toSorted()).toEqual(['a.txt', 'holes', 'size-1500000']);
    const out = names(place.path('out'));
    for (const path of done.wrong) expect(out).not.toContain(path);
    expect(out.length + 3).toBe(readdirSync(place.path('source')).length);
    expect(out.filter((name) => name.includes('partial'))).toEqual([]);
  });

  test.each([
    ['of no sense', '9\n0\n99999999\n'],
    ['of more than is stored', '1\n0\n3000000\n'],
  ])('a damaged map of a sparse file, %s, is no reason to lose the next member', async (_, map) => {
    const place = await packed((root) => {
      makeSparse(join(root, 'a'), 3_000_000, [0, 1_000_000]);
      writeFileSync(join(root, 'b'), 'next');
    });
    const fd = openSync(place.path('bundle'), 'r+');
    writeSync(fd, Buffer.from(map), 0, map.length, memberOf(place, 'a').offset);
    closeSync(fd);
    expect(await recall(place, ['.'])).toMatchObject({ wrong: ['a'], files: 1 });
    expect(readFileSync(place.path('out/b'), 'utf8')).toBe('next');
  });

  test('of a bundle that was cut short, what it still holds', async () => {
    const place = await packed((root) => {
      for (const name of ['a', 'b', 'c']) writeFileSync(join(root, name), Buffer.alloc(100_000, name));
    });
    truncateSync(place.path('bundle'), (memberOf(place, 'b').offset ?? 0) + 50_000);
    expect((await recall(place, ['.'])).wrong).toEqual(['b', 'c']);
    expect(names(place.path('out'))).toEqual(['a']);
  });

  test('a file of which the manifest has no digest cannot be proven, and is not recalled', async () => {
    const place = await packed((root) => writeFileSync(join(root, 'a'), 'a'));
    const { digests: _, ...a } = memberOf(place, 'a');
    rewriteManifest(place, [a]);
    expect(await recall(place, ['.'])).toMatchObject({ wrong: ['a'], files: 0 });
    expect(names(place.path('out'))).toEqual([]);
  });

  test('a copy that fails is asked for nothing more, and its failure is not forgotten', async () => {
    const place = await packed((root) => {
      for (const name of ['a', 'c']) writeFileSync(join(root, name), name);
      writeFileSync(join(root, 'b'), Buffer.alloc(2 * MAX_SLACK_BYTES, 1));
    });
    const [manifest, to, asked] = [place.path('manifest'), place.path('out'), createAsked(['a', 'c'])];
    const { done } = await surveyRecall({ manifest, asked, to });
    const target = await openRecallTarget(to, { force: false });
    const failure = new Error('the connection was lost');
    const { read } = createArchiveReads(place.path('bundle'));
    async function* failing(offset: number, length: number): AsyncGenerator<Buffer> {
      if (offset <= (memberOf(place, 'a').offset ?? 0)) throw failure;
      yield* read(offset, length);
    }
    const onDamage = (): Promise<never> => Promise.reject(new Error('nothing is damaged'));
    const parts = { manifest, asked, target, read: failing, done, onDamage };
    expect(await recallMembers(parts)).toMatchObject({ failure, ranges: 1, files: 0 });
    await target.close();
  });

  test('what is there from another copy is not fetched again, and what is wrong there is replaced only by force', async () => {
    const place = await packed(makeOddTree);
    expect((await recall(place, ['a', 'plain.txt', 'holes'])).kept).toBe(0);
    expect(await recall(place, ['a', 'plain.txt', 'holes', 'empty'])).toMatchObject({ files: 1, ranges: 0 });
    writeFileSync(place.path('out/plain.txt'), 'hallo\n');
    const again = recall(place, ['plain.txt']);
    await expect(again).rejects.toMatchObject({
      code: 'E_RECALL',
      message: expect.stringContaining('plain.txt'),
    });
    await recall(place, ['plain.txt'], { force: true });
    expect(readFileSync(place.path('out/plain.txt'), 'utf8')).toBe('hello\n');
  });
});

describe('the target', () => {
  test('nothing is written through a link that lies in it, also with force', async () => {
    const place = await packed(makeOddTree);
    mkdirSync(place.path('out'));
    symlinkSync(place.dir('elsewhere'), place.path('out/a'));
    for (const force of [false, true])
      await expect(recall(place, ['a/z'], { force })).rejects.toMatchObject({ code: 'E_RECALL' });
    expect(names(place.path('elsewhere'))).toEqual([]);
    expect(names(place.path('out'))).toEqual(['a']);
  });

  test('a manifest that names a member outside is refused', async () => {
    const place = await packed((root) => writeFileSync(join(root, 'a'), 'a'));
    const a = memberOf(place, 'a');
    for (const path of ['../a', '/tmp/a', 'x/../../a']) {
      rewriteManifest(place, [{ ...a, path }]);
      await expect(recall(place, ['.'])).rejects.toMatchObject({ code: 'E_BUNDLE_CORRUPT' });
    }
    expect(existsSync(place.path('a'))).toBe(false);
  });

  test('a folder is never replaced, a link in the place of a file only by force', async () => {
    const place = await packed((root) => writeFileSync(join(root, 'a'), 'a'));
    mkdirSync(place.path('out/a'), { recursive: true });
    await expect(recall(place, ['a'], { force: true })).rejects.toMatchObject({ code: 'E_RECALL' });
    // Before anything of it is made.
    const standing = { conflicts: [['a', 'is a folder']], num_conflicts: 1 } as unknown as RecallSurvey;
    expect(() => refuseConflicts(standing, { force: true })).toThrow('is a folder');
    mkdirSync(place.path('out2'));
    writeFileSync(place.path('precious'), 'precious');
    symlinkSync(place.path('precious'), place.path('out2/a'));
    await expect(recall(place, ['a'], { to: 'out2' })).rejects.toMatchObject({ code: 'E_RECALL' });
    await recall(place, ['a'], { to: 'out2', force: true });
    expect(lstatSync(place.path('out2/a')).isFile()).toBe(true);
    expect(readFileSync(place.path('precious'), 'utf8')).toBe('precious');
  });

  test('a folder of the user keeps its mode and time', async () => {
    const place = await packed((root) => writeFileSync(join(root, 'a'), 'a'));
    mkdirSync(place.path('out'), { mode: 0o700 });
    chmodSync(place.path('source'), 0o755);
    await recall(place, ['.']);
    expect(statSync(place.path('out')).mode & 0o777).toBe(0o700);
  });

  test('what comes into the place of a member while it is recalled is not replaced, but by force', async () => {
    const to = (await makePlace()).dir('out');
    const member: ManifestMember = { path: 'a', type: 'file', size: 8, mode: 0o644, mtime: '0' };
    for (const force of [false, true]) {
      const target = await openRecallTarget(to, { force });
      const { file, path } = await target.create();
      await file.writeFile('recalled');
      await file.close();
      await target.add(path, member, () => undefined);
      writeFileSync(join(to, 'a'), 'of somebody');
      const published = await target.publish().catch((error: unknown) => error);
      expect(published).toEqual(force ? undefined : expect.objectContaining({ code: 'E_RECALL' }));
      expect(readFileSync(join(to, 'a'), 'utf8')).toBe(force ? 'recalled' : 'of somebody');
      await target.close();
    }
  });

  test('nor is what comes into the place of a link', async () => {
    const to = (await makePlace()).dir('out');
    const type = 'symbolic link';
    const member: ManifestMember = { path: 'a', type, target: 'b', size: 0, mode: 0o777, mtime: '0' };
    for (const force of [false, true]) {
      const target = await openRecallTarget(to, { force });
      target.link(member);
      writeFileSync(join(to, 'a'), 'of somebody');
      const completed = await target.complete().catch((error: unknown) => error);
      expect(completed).toEqual(force ? undefined : expect.objectContaining({ code: 'E_RECALL' }));
      expect(lstatSync(join(to, 'a')).isSymbolicLink()).toBe(force);
      await target.close();
    }
  });

  test('a link that comes into the place of a folder which was not there yet is seen', async () => {
    const place = await makePlace();
    const standing = standingIn(place.dir('out'));
    const member: ManifestMember = { path: 'a/x', type: 'file', size: 8, mode: 0o644, mtime: '0' };
    expect(standing(member)).toBe('free');
    symlinkSync(place.dir('elsewhere'), place.path('out/a'));
    expect(standing({ ...member, path: 'a/y' })).toEqual({ conflict: 'a is no folder' });
  });

  test('what a dead recall left is removed, what a living one holds is not', async () => {
    const place = await packed((root) => writeFileSync(join(root, 'a'), 'a'));
    mkdirSync(place.path('out/.recall.partial-dead'), { recursive: true });
    writeFileSync(place.path('out/.recall.partial-dead/0'), 'half');
    const other = await openRecallTarget(place.path('out'), { force: false });
    await recall(place, ['a']);
    expect(names(place.path('out'))).toEqual([expect.stringMatching(/^\.recall\.partial-/), 'a']);
    await other.close();
    expect(names(place.path('out'))).toEqual(['a']);
  });
});

test('an unknown path is told with names like it', async () => {
  const place = await packed(makeOddTree);
  const error = recall(place, ['plain.txt', 'a/plane.txt']);
  await expect(error).rejects.toMatchObject({
    code: 'E_RECALL',
    fields: { missing: ['a/plane.txt'], near: expect.arrayContaining(['plain.txt']) },
    hint: expect.stringContaining('plain.txt'),
  });
  expect(nearNames(place.path('manifest'), 'reports/deep')[0]).toMatch(/level-39\/deep$/);
  for (const path of ['../out', '/etc/passwd', ''])
    expect(() => createAsked([path])).toThrow(expect.objectContaining({ code: 'E_RECALL' }));
});

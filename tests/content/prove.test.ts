import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  linkSync,
  readFileSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  endManifest,
  type ManifestMember,
  ManifestWriter,
  readManifest,
} from '../../workers/content/manifest.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { createPace, waitAfter } from '../../workers/content/prove/pace.ts';
import { proveBundle, type ProveOptions } from '../../workers/content/prove/prove.ts';
import type { RemoteBundle } from '../../workers/content/unpack/feed.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { flip } from '../support/archived.ts';
import { makePlace } from '../support/place.ts';
import { fingerprint } from '../tasks/landing.ts';
import { makeOddTree, makeSparse } from './trees.ts';

interface Packed {
  readonly folder: string;
  readonly bundle: string;
  readonly manifest: string;
  readonly expect: { size: number; digests: Record<string, string> };
  readonly members: number;
  readonly member: (path: string) => ManifestMember & { offset: number };
  readonly prove: (given?: Partial<ProveOptions>) => ReturnType<typeof proveBundle>;
}

async function packed(make: (root: string) => void, name = 'run'): Promise<Packed> {
  const place = await makePlace();
  const source = place.dir('source');
  make(source);
  const folder = place.dir('archive');
  const [bundle, manifest] = [join(folder, `${name}.tar`), join(folder, `${name}.tar.manifest.ndjson`)];
  const digests = { member: ['blake3' as const], bundle: ['blake3' as const, 'md5' as const] };
  const made = await packBundle({ source, target: bundle, manifest, digests });
  const record = { size: made.size, digests: made.digests };
  return {
    folder,
    bundle,
    manifest,
    expect: record,
    members: made.members,
    member: (path) => {
      const found = [...readManifest(manifest)].find((one) => one.path === path);
      if (found?.offset === undefined) throw new Error(`no file ${path}`);
      return { ...found, offset: found.offset };
    },
    prove: (given = {}) => proveBundle({ bundle, manifest, expect: record, ...given }),
  };
}

/** As an archive elsewhere gives it: in parts that end anywhere. */
function remote(path: string, given: Partial<RemoteBundle> = {}): RemoteBundle {
  const bytes = readFileSync(path);
  return {
    name: `far:${path}`,
    size: bytes.length,
    open: async function* (offset) {
      for (let at = offset; at < bytes.length; at += 99_991) yield bytes.subarray(at, at + 99_991);
    },
    ...given,
  };
}

const small = (root: string): void => {
  writeFileSync(join(root, 'a'), randomBytes(700));
  execFileSync('mkdir', [join(root, 'b folder')]);
  writeFileSync(join(root, 'b folder/c'), randomBytes(300));
  writeFileSync(join(root, 'd'), '');
  writeFileSync(join(root, 'e'.repeat(180)), randomBytes(1024));
  makeSparse(join(root, 'f holes'), 200_000, [70_000]);
  execFileSync('ln', ['-s', 'a', join(root, 'g link')]);
  writeFileSync(join(root, 'h last'), randomBytes(10));
};

const short = (path: string | null): string | null => (path?.startsWith('eee') === true ? 'eee' : path);
const told = ({ differences }: Awaited<ReturnType<typeof proveBundle>>): string[] =>
  differences.map(({ member, what }) => `${short(member) ?? '*'}: ${what}`);

const WHOLE = ['*: blake3', '*: md5'];

describe('a sound bundle', () => {
  test('is proven with every member, as a file and as a stream, and stays as it is', async () => {
    const { folder, bundle, expect: record, members, prove } = await packed(makeOddTree);
    const before = fingerprint(folder);
    const seen: number[] = [];
    const sound = { ok: true, bytes: record.size, members, digested: true, digests: record.digests };
    expect(await prove({ onProgress: ({ bytes }) => seen.push(bytes) })).toEqual({
      ...sound,
      differences: [],
      num_differences: 0,
    });
    expect(seen.at(-1)).toBe(record.size);
    expect(await prove({ bundle: remote(bundle) })).toMatchObject(sound);
    expect(fingerprint(folder)).toBe(before);
  });

  test('is proven by the digests of its manifest where the catalog has none', async () => {
    const { bundle, member, prove } = await packed(small);
    expect(await prove({ expect: { digests: {} } })).toMatchObject({ ok: true, digested: true });
    expect(await prove({ expect: { digests: { sha1: 'of another system' } } })).toMatchObject({ ok: true });
    flip(bundle, member('a').offset);
    expect(told(await prove({ expect: { digests: {} } }))).toEqual([...WHOLE, 'a: blake3']);
  });

  test('from elsewhere needs no manifest: its digest and its headers prove it', async () => {
    const place = await makePlace();
    makeOddTree(place.dir('source'));
    const bundle = place.path('foreign.tar');
    execFileSync('tar', ['-cf', bundle, '-C', place.folder, '--sparse', 'source']);
    const md5 = createHash('md5').update(readFileSync(bundle)).digest('hex');
    const prove = (digests: Record<string, string>) =>
      proveBundle({ bundle, manifest: null, expect: { size: statSync(bundle).size, digests } });
    expect(await prove({ md5 })).toMatchObject({ ok: true, digested: true, digests: { md5 } });
    expect(await prove({})).toMatchObject({ ok: true, digested: false });
    flip(bundle, 5); // In the name of the first member.
    expect(told(await prove({ md5 }))).toEqual(['*: md5', '*: header checksum']);
    expect(told(await prove({}))).toEqual(['*: header checksum']);
  });

  test('may have further names of a file, which have no data of their own', async () => {
    const place = await makePlace();
    const [source, bundle, manifest] = [place.dir('source'), place.path('b.tar'), place.path('manifest')];
    writeFileSync(join(source, 'a'), 'hello');
    linkSync(join(source, 'a'), join(source, 'b'));
    writeFileSync(join(source, 'c'), 'world');
    execFileSync('tar', ['--format=ustar', '--sort=name', '-b', '1', '-cf', bundle, '-C', source, '.']);
    const writer = new ManifestWriter(manifest, ['md5']);
    const file = (path: string, text: string, more: object) => {
      const digests = { md5: createHash('md5').update(text).digest('hex') };
      writer.add({ path, type: 'file', size: 5, mode: 0o644, mtime: '0', digests, ...more });
    };
    writer.add({ path: '.', type: 'directory', size: 0, mode: 0o755, mtime: '0' });
    file('a', 'hello', { offset: 1024 });
    file('b', 'hello', { hard_link: 'a' });
    file('c', 'world', { offset: 2560 });
    const whole = { size: statSync(bundle).size, digests: {} };
    endManifest(manifest, { bundle: whole, ...writer.close() });
    const prove = () => proveBundle({ bundle, manifest, expect: whole });
    expect(await prove()).toMatchObject({ ok: true, members: 4 });
    flip(bundle, 2560);
    expect(told(await prove())).toEqual(['c: md5']);
  });
});

describe('a damaged bundle', () => {
  test('one flipped bit, in whatever block, is found and costs no other file', {
    timeout: 600_000,
  }, async () => {
    const { bundle, expect: record, members, prove } = await packed(small);
    const sound = readFileSync(bundle);
    for (let block = 0; block < sound.length / 512; block++) {
      const at = block * 512 + Math.floor(Math.random() * 512);
      flip(bundle, at);
      const found = await prove();
      expect(found, `a bit of byte ${at}`).toMatchObject({ ok: false, bytes: record.size, members });
      expect(told(found).slice(0, 2), `a bit of byte ${at}`).toEqual(WHOLE);
      const named = new Set(found.differences.slice(2).map(({ member }) => member));
      // None for the rest of a block that holds a long name: only the bundle's own digest covers it.
      expect(named.size, `a bit of byte ${at}: ${told(found).join(', ')}`).toBeLessThanOrEqual(1);
      writeFileSync(bundle, sound);
    }
    expect(await prove()).toMatchObject({ ok: true });
  });

  test('data, padding, a header and the end are told apart, with what was expected and what is there', async () => {
    const { bundle, expect: record, member, prove } = await packed(small);
    const sound = readFileSync(bundle);
    const after = async (at: number) => {
      flip(bundle, at);
      const { differences } = await prove();
      writeFileSync(bundle, sound);
      return differences.slice(2);
    };
    const a = member('a');
    expect(await after(a.offset + 699)).toEqual([
      {
        member: 'a',
        what: 'blake3',
        expected: a.digests?.blake3,
        actual: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    ]);
    expect(await after(a.offset + 700)).toEqual([
      { member: 'a', what: 'padding', expected: 'zeros', actual: `another byte at ${a.offset + 700}` },
    ]);
    expect(await after(a.offset - 512)).toMatchObject([
      { member: 'a', what: 'header checksum', actual: expect.stringContaining(`at byte ${a.offset - 512}`) },
    ]);
    expect(await after(record.size - 1)).toEqual([
      { member: null, what: 'end', expected: 'zeros', actual: `another byte at ${record.size - 1}` },
    ]);
    expect(await after(member('f holes').offset + 1024)).toMatchObject([
      { member: 'f holes', what: 'blake3' },
    ]);
  });

  test('damaged headers hide no damaged file behind them', async () => {
    const { bundle, member, prove } = await packed(small);
    flip(bundle, 0); // The folder itself.
    flip(bundle, member('a').offset - 300);
    flip(bundle, member('b folder/c').offset);
    flip(bundle, member('e'.repeat(180)).offset + 1);
    flip(bundle, member('h last').offset + 9);
    const found = await prove();
    expect(told(found)).toEqual([
      ...WHOLE,
      '.: header checksum',
      'a: header checksum',
      'b folder/c: blake3',
      'eee: blake3',
      'h last: blake3',
    ]);
    expect(found.num_differences).toBe(7);
  });

  test('cut short, wherever: it says where, and how much is missing', async () => {
    const { bundle, expect: record, member, members, prove } = await packed(small);
    const sound = readFileSync(bundle);
    const cut = async (size: number) => {
      truncateSync(bundle, size);
      const found = await prove();
      expect(found).toMatchObject({ ok: false, bytes: size, members });
      expect(found.differences[0]).toEqual({
        member: null,
        what: 'size',
        expected: String(record.size),
        actual: String(size),
      });
      writeFileSync(bundle, sound);
      return told(found).slice(3);
    };
    expect(await cut(0)).toEqual(['.: the end of the bundle', '*: members']);
    expect(await cut(100)).toEqual(['.: the end of the bundle', '*: members']);
    expect(await cut(member('a').offset + 10)).toEqual(['a: the end of the bundle', '*: members']);
    expect(await cut(member('h last').offset - 512)).toEqual(['h last: the end of the bundle']);
    expect(await cut(member('h last').offset + 512)).toEqual(['*: the end of the bundle']);
    expect(await cut(record.size - 512)).toEqual([]); // The second block of the end mark: of no member.
  });

  test('bytes behind its end are differences, zeros too', async () => {
    const { bundle, prove } = await packed(small);
    appendFileSync(bundle, Buffer.alloc(512));
    expect(told(await prove())).toEqual(['*: size', ...WHOLE]);
    appendFileSync(bundle, 'x');
    expect(told(await prove())).toEqual(['*: size', ...WHOLE, '*: end']);
  });

  test('a bundle in the place of another is told as such, with a thousand differences at the most', async () => {
    const one = await packed((root) => {
      for (let n = 0; n < 1100; n++) writeFileSync(join(root, `file-${n}`), 'same');
    });
    const sound = readFileSync(one.bundle);
    const other = Buffer.from(sound);
    for (const { type, offset = 0 } of readManifest(one.manifest)) if (type === 'file') other[offset] = 120;
    writeFileSync(one.bundle, other);
    const found = await one.prove();
    expect(found).toMatchObject({ ok: false, num_differences: 1102 });
    expect(found.differences).toHaveLength(1002);
  });
});

describe('the manifest', () => {
  test('of another bundle is one difference, and takes nothing from the proof of the bytes', async () => {
    const [one, other] = [await packed(small), await packed(makeOddTree)];
    copyFileSync(other.manifest, one.manifest);
    const found = await one.prove();
    expect(told(found)).toEqual(['*: manifest']);
    expect(found.differences[0]?.expected).toContain(one.expect.digests.blake3);
    copyFileSync(other.bundle, one.bundle);
    expect(told(await one.prove())).toEqual(['*: manifest', '*: size', ...WHOLE]);
  });

  test('that was altered, cut short or emptied is a difference', async () => {
    const { manifest, prove } = await packed(small);
    const text = readFileSync(manifest, 'utf8');
    for (const damaged of [
      text.replace('"path":"a"', '"path":"z"'),
      text.slice(0, -30),
      text.slice(0, text.indexOf('"path":"a"')),
      '',
      'no manifest\n',
    ]) {
      writeFileSync(manifest, damaged);
      expect(told(await prove())).toEqual(['*: manifest']);
    }
  });
});

describe('what says nothing about the bundle', () => {
  test('is thrown: no bundle, an archive that goes away, bytes that do not arrive', async () => {
    const { bundle, prove } = await packed(small);
    const away = new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'gone');
    const broken = remote(bundle, {
      open: async function* () {
        yield readFileSync(bundle).subarray(0, 1000);
        throw away;
      },
    });
    await expect(prove({ bundle: broken })).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
    const short = remote(bundle, { size: statSync(bundle).size + 1 });
    await expect(prove({ bundle: short })).rejects.toMatchObject({ code: 'E_TRANSFER' });
    unlinkSync(bundle);
    await expect(prove()).rejects.toMatchObject({ code: 'E_BUNDLE_MISSING' });
  });

  test('a proof that is stopped ends, also one that waits for its pace', async () => {
    const { bundle, prove } = await packed(small);
    for (const from of [bundle, remote(bundle)]) {
      const stop = new AbortController();
      const proof = prove({ bundle: from, pace: createPace(1), signal: stop.signal });
      setImmediate(() => stop.abort(new Error('stopped by a person')));
      await expect(proof).rejects.toThrow('stopped by a person');
    }
  });
});

test('the pace is kept over several bundles, and what was not used long ago is not saved up', async () => {
  const pace = createPace(1_000_000);
  expect(waitAfter(pace, 5_000_000)).toBeGreaterThan(3900);
  const second = waitAfter(pace, 5_000_000);
  expect(second).toBeGreaterThan(8900);
  expect(second).toBeLessThanOrEqual(10_000);
  const { bundle, prove } = await packed(small);
  const fast = createPace(100_000_000);
  expect(await prove({ pace: fast })).toMatchObject({ ok: true });
  expect(await prove({ pace: fast, bundle: remote(bundle) })).toMatchObject({ ok: true });
});

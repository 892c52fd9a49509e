import { createHash } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statfsSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Archive, missingObject } from '../../workers/archive/contract.ts';
import { openArchive } from '../../workers/archive/index.ts';
import { proveCopy, type ProveCopyOptions } from '../../workers/archive/proof.ts';
import { createPace } from '../../workers/content/prove/pace.ts';
import { FILE_SYSTEM } from '../../workers/content/system-calls.ts';
import type { BundleCopy } from '../../workers/dataset/types.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { makeArchived } from '../support/archived.ts';
import { fingerprint } from '../tasks/landing.ts';

const LEVELS = ['size', 'digest', 'stream'] as const;

async function setUp() {
  const archived = await makeArchived((source) => {
    writeFileSync(join(source, 'a.txt'), 'alpha');
    mkdirSync(join(source, 'sub'));
    writeFileSync(join(source, 'sub/b.bin'), Buffer.alloc(600_000, 7));
  });
  const { place, store, id } = archived;
  const [copy] = await store.catalog.copies(id);
  if (copy === undefined) throw new Error('no copy');
  const archive = openArchive(place.config, 'filesystem');
  const scratch = place.path('scratch');
  const prove = (level: BundleCopy['verified_how'] & string, given: Partial<ProveCopyOptions> = {}) =>
    proveCopy({ dataset_id: id, archive, copy, level, actor: 'someone', scratch, ...given });
  const bytes = readFileSync(archived.bundle());
  const md5 = createHash('md5').update(bytes).digest('hex');
  /** The same objects as those of an archive elsewhere, which states digests. */
  const far = (given: Partial<Archive> & { md5?: string } = {}): Archive => ({
    ...archive,
    local: null,
    stat: async (key) => {
      const found = await archive.stat(key);
      return found === null || given.md5 === undefined ? found : { ...found, digests: { md5: given.md5 } };
    },
    ...given,
  });
  const digested = { ...copy, digests: { ...copy.digests, md5 } };
  const places = {
    bundle: () => archived.bundle(),
    manifest: () => archived.manifest(),
    damage: (path: string) => archived.damage(path),
  };
  return { place, store, id, ...places, copy, archive, scratch, prove, far, md5, digested };
}

/** Bytes that this process, with its threads, has had from storage (proc(5), io). */
const fromStorage = (): number =>
  Number(/^read_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);

describe('a copy that is as it was stored', () => {
  test('is read from its disk, though it was written a moment ago', async ({ skip }) => {
    const { prove, bundle } = await setUp();
    if (statfsSync(bundle()).type === FILE_SYSTEM.tmpfs) skip('the folder of this checkout is memory');
    const size = readFileSync(bundle()).length;
    const before = fromStorage();
    readFileSync(bundle());
    expect(fromStorage() - before, 'it lies in the cache').toBeLessThan(size);
    expect(await prove('stream')).toMatchObject({ result: 'ok', bytes: size });
    expect(fromStorage() - before).toBeGreaterThanOrEqual(size);
  });

  test('is proven at every level, with what was read, and stays as it is', async () => {
    const { place, id, copy, prove, bundle, far, digested, md5 } = await setUp();
    const before = fingerprint(place.path('data/archive'));
    const line = {
      dataset_id: id,
      archive: 'filesystem',
      key: copy.key,
      result: 'ok',
      actor: 'someone',
      at: expect.stringMatching(/^20..-/),
      seconds: expect.any(Number),
    };
    expect(await prove('size')).toEqual({ ...line, level: 'size', bytes: 0, details: { path: bundle() } });
    const streamed = {
      ...line,
      level: 'stream',
      bytes: copy.size,
      details: { path: bundle(), manifest: true, members: 4, digested: true },
    };
    expect(await prove('stream')).toEqual(streamed);
    expect(await prove('stream', { pace: createPace(1e9) })).toEqual(streamed);
    expect(await prove('digest')).toEqual(streamed); // A file system states no digest.
    expect(await prove('digest', { archive: far({ md5 }), copy: digested })).toEqual({
      ...line,
      level: 'digest',
      bytes: 0,
      details: { path: bundle() },
    });
    expect(fingerprint(place.path('data/archive'))).toBe(before);
  });

  test('elsewhere is read as a stream, and what was fetched for it is removed', async () => {
    const { prove, far, scratch, copy } = await setUp();
    const seen: number[] = [];
    const proof = await prove('stream', { archive: far(), onProgress: (bytes) => seen.push(bytes) });
    expect(proof).toMatchObject({ level: 'stream', result: 'ok', bytes: copy.size });
    expect(proof.details).toMatchObject({ manifest: true });
    expect(seen.at(-1)).toBe(copy.size);
    expect(readdirSync(scratch)).toEqual([]);
  });

  test('without manifest is proven by its digest; without any digest only its size is', async () => {
    const { prove, manifest, copy } = await setUp();
    unlinkSync(manifest());
    expect(await prove('stream')).toMatchObject({
      level: 'stream',
      result: 'ok',
      details: { manifest: false },
    });
    expect(await prove('stream', { copy: { ...copy, digests: {} } })).toMatchObject({
      level: 'size',
      result: 'ok',
      details: { digested: false },
    });
  });
});

describe('a copy that is not', () => {
  test('of another size is a mismatch at every level', async () => {
    const { bundle, prove, copy } = await setUp();
    truncateSync(bundle(), copy.size - 100_000);
    const size = {
      member: null,
      what: 'size',
      expected: String(copy.size),
      actual: String(copy.size - 100_000),
    };
    for (const level of LEVELS)
      expect((await prove(level)).details, level).toMatchObject({
        differences: expect.arrayContaining([size]),
      });
    expect(await prove('stream')).toMatchObject({ result: 'mismatch', bytes: copy.size - 100_000 });
  });

  test('is told by the archive itself, with both digests', async () => {
    const { prove, far, digested, md5 } = await setUp();
    expect(await prove('digest', { archive: far({ md5: 'f00' }), copy: digested })).toMatchObject({
      level: 'digest',
      result: 'mismatch',
      bytes: 0,
      details: { num_differences: 1, differences: [{ what: 'md5', expected: md5, actual: 'f00' }] },
    });
  });

  test('with a flipped bit is a mismatch that names the member, near and far', async () => {
    const { prove, far, damage, bundle, copy } = await setUp();
    damage('sub/b.bin');
    expect(await prove('size')).toMatchObject({ result: 'ok', level: 'size' });
    for (const given of [{}, { archive: far() }]) {
      const { result, level, bytes, details } = await prove('stream', given);
      expect({ result, level, bytes }).toEqual({ result: 'mismatch', level: 'stream', bytes: copy.size });
      expect(details).toMatchObject({
        path: bundle(),
        num_differences: 2,
        differences: [
          { member: null, what: 'blake3', expected: copy.digests.blake3 },
          { member: 'sub/b.bin', what: 'blake3' },
        ],
      });
    }
  });

  test('with damage everywhere leaves a hundred differences in the ledger, and their number', async () => {
    const archived = await makeArchived((source) => {
      for (let n = 0; n < 150; n++) writeFileSync(join(source, `f${n}`), 'x');
    });
    for (let n = 0; n < 150; n++) archived.damage(`f${n}`);
    const { store, id, place } = archived;
    const [copy] = await store.catalog.copies(id);
    const archive = openArchive(place.config, 'filesystem');
    const { details } = await proveCopy({
      dataset_id: id,
      archive,
      copy: copy as BundleCopy,
      level: 'stream',
      actor: 'x',
      scratch: place.path('scratch'),
    });
    expect(details.num_differences).toBe(151);
    expect(details.differences).toHaveLength(100);
  });

  test('there is missing, where the archive is there', async () => {
    const { prove, bundle, far } = await setUp();
    unlinkSync(bundle());
    for (const level of LEVELS)
      for (const given of [{}, { archive: far() }])
        expect(await prove(level, given)).toMatchObject({ level, result: 'missing', bytes: 0 });
  });

  test('that vanishes while it is looked at is missing', async () => {
    const { prove, bundle, archive } = await setUp();
    let asked = 0;
    const vanishing: Archive = {
      ...archive,
      stat: async (key) => {
        const found = await archive.stat(key);
        if (asked++ === 0) unlinkSync(bundle());
        return found;
      },
    };
    expect(await prove('stream', { archive: vanishing })).toMatchObject({ result: 'missing' });
  });
});

describe('what says nothing about the copy', () => {
  test('one that was not found while it was read, and is there all the same, is unavailable', async () => {
    const { prove, far, archive } = await setUp();
    const flickering = far({
      read: async function* (key, options) {
        for await (const chunk of archive.read(key, { ...options, length: 1000 })) yield chunk;
        throw missingObject(archive.name, key);
      },
    });
    expect(await prove('stream', { archive: flickering })).toMatchObject({
      result: 'unavailable',
      bytes: 1000,
      details: { code: 'E_IO', reason: expect.stringContaining('not there for a moment') },
    });
  });

  test('an unmounted archive is unavailable, at every level, never missing', async () => {
    const { prove, place } = await setUp();
    renameSync(place.path('data/archive'), place.path('data/unmounted'));
    mkdirSync(place.path('data/archive'));
    for (const level of LEVELS)
      expect(await prove(level)).toMatchObject({
        level,
        result: 'unavailable',
        bytes: 0,
        details: { code: 'E_ARCHIVE_UNAVAILABLE', reason: expect.stringContaining('is not there') },
      });
  });

  test('a fault of ours is thrown: it is no word of the archive', async () => {
    const { prove, far } = await setUp();
    const faulty = far({
      stat: async () => {
        throw new TypeError('undefined is no function');
      },
    });
    await expect(prove('size', { archive: faulty })).rejects.toThrow('undefined is no function');
  });

  test('an archive that breaks off is unavailable, and what was read is counted', async () => {
    const { prove, far, archive } = await setUp();
    const broken = far({
      read: async function* (key, options) {
        for await (const chunk of archive.read(key, { ...options, length: 524_288 })) yield chunk;
        throw new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'the line is dead');
      },
    });
    const { result, bytes, details } = await prove('stream', { archive: broken });
    expect({ result, ...details }).toMatchObject({ result: 'unavailable', reason: 'the line is dead' });
    expect(bytes).toBe(524_288);
  });

  test('a transfer that goes wrong once is repeated; twice, it is a finding', async () => {
    const { prove, far, archive } = await setUp();
    const failing = (times: number): Archive => {
      let left = times;
      return far({
        read: async function* (key, options) {
          if (left-- > 0) return;
          for await (const chunk of archive.read(key, options)) yield chunk;
        },
      });
    };
    expect(await prove('stream', { archive: failing(1) })).toMatchObject({ result: 'ok', level: 'stream' });
    expect(await prove('stream', { archive: failing(2) })).toMatchObject({
      result: 'mismatch',
      details: { code: 'E_TRANSFER' },
    });
  });

  test('a stop is no result', async () => {
    const { prove } = await setUp();
    const signal = AbortSignal.abort(new Error('stopped by a person'));
    await expect(prove('stream', { signal })).rejects.toThrow('stopped by a person');
  });
});

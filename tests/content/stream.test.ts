/** Bundles that go to, and come from, somewhere else than a file. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { inspectTree } from '../../workers/content/inspect.ts';
import { packBundle, packStream } from '../../workers/content/pack/pack.ts';
import { type RemoteBundle, unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { makePlace, type Place } from '../support/place.ts';
import { fingerprint, writeTree } from '../tasks/landing.ts';

const digests = { member: ['blake3', 'md5'], bundle: ['blake3', 'md5'] } as const;
const MB = 1024 * 1024;

async function tree(): Promise<{ place: Place; source: string }> {
  const place = await makePlace();
  const source = place.path('source');
  writeTree(source, {
    'a.txt': 'alpha',
    empty: '',
    'big.bin': randomBytes(5 * MB + 123),
    'sub/deep/x': randomBytes(300_000),
    'sub/link': { link: 'deep/x' },
    bare: null,
  });
  return { place, source };
}

async function packed(
  place: Place,
  source: string,
): Promise<{ bundle: string; manifest: string; bytes: Buffer }> {
  const bundle = place.path('bundle.tar');
  const manifest = place.path('manifest');
  await packBundle({ source, target: bundle, manifest, digests });
  return { bundle, manifest, bytes: readFileSync(bundle) };
}

const remote = (bytes: Buffer, size: number, fail?: () => Error): RemoteBundle => ({
  name: 'far://away/bundle.tar',
  size: bytes.length,
  open: async function* (offset) {
    for (let at = offset; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    if (fail) throw fail();
  },
});

test('a bundle that is streamed away has the bytes, digests and manifest of one that is written to a file', async () => {
  const { place, source } = await tree();
  const { bytes, manifest } = await packed(place, source);
  const parts: Buffer[] = [];
  const seen: number[] = [];
  const streamed = await packStream(
    {
      source,
      manifest: place.path('streamed'),
      digests,
      onProgress: ({ bytes: done }) => seen.push(done),
    },
    async (stream) => {
      for await (const part of stream) parts.push(part); // Kept: a part stays what it is.
    },
  );
  expect(Buffer.concat(parts).equals(bytes)).toBe(true);
  expect(readFileSync(place.path('streamed'), 'utf8')).toBe(readFileSync(manifest, 'utf8'));
  expect(streamed.size).toBe(bytes.length);
  const { du_size } = await inspectTree({ root: source, genome_file_types: [] });
  expect(seen.at(-1)).toBe(du_size); // As the inspection has weighed it, by which it is measured.
});

test('who takes the stream and fails ends the packing with that error; so does a source that fails', async () => {
  const { place, source } = await tree();
  const options = { source, manifest: place.path('manifest'), digests };
  const refused = packStream(options, async (stream) => {
    for await (const part of stream)
      if (part.length > 0) throw new LongshoreError('E_TRANSFER', 'the far end closed');
  });
  await expect(refused).rejects.toMatchObject({ code: 'E_TRANSFER', message: 'the far end closed' });
  const absent = packStream({ ...options, source: place.path('absent') }, async (stream) => {
    for await (const _ of stream) void _;
  });
  await expect(absent).rejects.toMatchObject({ code: 'E_ORIGIN_MISSING' });
  const stop = new AbortController();
  const stopped = packStream({ ...options, signal: stop.signal }, async (stream) => {
    stop.abort(new Error('stopped by a person'));
    for await (const _ of stream) void _;
  });
  await expect(stopped).rejects.toThrow('stopped by a person');
});

test.each([1000, 256 * 1024, 3 * MB + 1])(
  'a bundle that comes in chunks of %i bytes is unpacked and kept',
  async (size) => {
    const { place, source } = await tree();
    const { bytes, manifest } = await packed(place, source);
    const target = place.dir('target');
    const copy = place.path('copy.tar');
    const unpacked = await unpackBundle({
      bundle: remote(bytes, size),
      target,
      copy,
      manifest,
      digests: ['md5'],
      expect: { size: bytes.length },
    });
    expect(unpacked.size).toBe(bytes.length);
    expect(fingerprint(target)).toBe(fingerprint(source));
    expect(readFileSync(copy).equals(bytes)).toBe(true);
  },
);

test('a stream that ends early, one that breaks, and one with a flipped bit are told apart', async () => {
  const { place, source } = await tree();
  const { bytes, manifest } = await packed(place, source);
  const expectation = { size: bytes.length, digests: {} };
  const unpack = (name: string, bundle: RemoteBundle) =>
    unpackBundle({ bundle, target: place.dir(name), manifest, expect: expectation });
  const short = { ...remote(bytes.subarray(0, 4 * MB), 65_536), size: bytes.length };
  await expect(unpack('short', short)).rejects.toMatchObject({ code: 'E_BUNDLE_CORRUPT' });
  const broken = remote(bytes, 65_536, () => new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'the line broke'));
  await expect(unpack('broken', broken)).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  const flipped = Buffer.from(bytes);
  flipped[2 * MB] = (flipped[2 * MB] ?? 0) ^ 4;
  await expect(unpack('flipped', remote(flipped, 65_536))).rejects.toMatchObject({
    code: 'E_BUNDLE_CORRUPT',
  });
  expect(existsSync(place.path('flipped'))).toBe(true); // Litter for the caller, never published.
});

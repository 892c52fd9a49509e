/** What every back end of the archive must do; each has a file of its own that calls this and adds what is its own. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type Archive, manifestKey } from '../../workers/archive/contract.ts';
import { deleteBundle, openManifest } from '../../workers/archive/bundles.ts';
import type { ErrorCode } from '../../workers/errors.ts';
import { makePlace, type Place } from '../support/place.ts';

export interface Bench {
  readonly place: Place;
  /** A fresh object for the same archive: what another process would open. */
  readonly open: () => Archive;
  /** Key of a bundle of that file name, in a folder of its own. */
  readonly key: (name: string) => string;
  /** Makes the archive unreachable, and reachable again. */
  readonly takeAway: () => Promise<void>;
  readonly bringBack: () => Promise<void>;
  /** What else keeps its answers away, each told by a code; `bringBack` ends it. */
  readonly outages?: Readonly<Record<string, { begin: () => Promise<void>; code: ErrorCode }>>;
  /** What breaks a put on its way; `bringBack` ends it. */
  readonly brokenPuts?: Readonly<Record<string, () => Promise<void>>>;
}

const MB = 1024 * 1024;
const NAMES = [
  'plain.tar',
  'with space and "quotes" and \'single\'.tar',
  '-leading-dash.tar',
  'umlaut-äöü-日本.tar',
  'semi;colon|pipe$(touch x)`y`.tar',
  'star*[a]?{b}.tar',
  'percent%20&plus+=hash#.tar',
  'back\\slash.tar',
];

async function collect(bytes: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of bytes) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

async function collectKeys(archive: Archive, folder: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of archive.list(folder)) keys.push(key);
  return keys;
}

async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const md5 = (bytes: Buffer): string => createHash('md5').update(bytes).digest('hex');
const put = { task_id: 'task-0001' };

/** @param make a bench in the given place; called in each test */
export function archiveBattery(kind: string, make: (place: Place) => Promise<Bench>): void {
  const begin = async (): Promise<Bench & { archive: Archive }> => {
    const bench = await make(await makePlace());
    return { ...bench, archive: bench.open() };
  };
  const fileOf = (place: Place, bytes: Buffer, name = 'local.bin'): string => {
    const path = place.path(name);
    writeFileSync(path, bytes);
    return path;
  };

  describe(`${kind}: the battery of all archives`, () => {
    test('a file is put, found with its size, read back whole and as a file, listed and deleted', async () => {
      const { archive, key, place } = await begin();
      const bytes = randomBytes(3 * MB + 17);
      const at = key('run1.tar');
      const file = fileOf(place, bytes);
      const stored = await archive.put(at, { file, digests: { md5: md5(bytes) } }, put);
      expect(stored.size).toBe(bytes.length);
      const found = await archive.stat(at);
      expect(found?.size).toBe(bytes.length);
      if (archive.capabilities.digest === 'md5') expect(found?.digests.md5).toBe(md5(bytes));
      expect((await collect(archive.read(at, {}))).equals(bytes)).toBe(true);
      const target = place.path('back.bin');
      writeFileSync(target, 'older');
      expect((await archive.get(at, target, {})).size).toBe(bytes.length);
      expect(readFileSync(target).equals(bytes)).toBe(true);
      const folder = at.slice(0, at.lastIndexOf('/') + 1);
      const listed = [];
      for await (const one of archive.list(folder)) listed.push(one);
      expect(listed).toEqual([{ key: at, size: bytes.length }]);
      expect(await archive.delete(at)).toBe(true);
      expect(await archive.delete(at)).toBe(false);
      expect(await archive.stat(at)).toBeNull();
      expect(existsSync(file)).toBe(true);
    });

    test('what is absent is absent, not away', async () => {
      const { archive, key, place } = await begin();
      await archive.put(key('there.tar'), { file: fileOf(place, randomBytes(10)) }, put);
      expect(await archive.stat(key('absent.tar'))).toBeNull();
      await expect(collect(archive.read(key('absent.tar'), {}))).rejects.toMatchObject({
        code: 'E_BUNDLE_MISSING',
      });
      const target = place.path('back.bin');
      await expect(archive.get(key('absent.tar'), target, {})).rejects.toMatchObject({
        code: 'E_BUNDLE_MISSING',
      });
      expect(existsSync(target)).toBe(false);
      expect(await archive.delete(key('absent.tar'))).toBe(false);
      const none = [];
      for await (const one of archive.list(`${key('x/y/nothing.tar')}/`)) none.push(one);
      expect(none).toEqual([]);
      await archive.ensureReachable(key('absent.tar'));
    });

    test('an archive that is away is an outage, never an absence, and nothing changes', async () => {
      const { archive, key, place, takeAway, bringBack, outages = {} } = await begin();
      const at = key('run1.tar');
      const bytes = randomBytes(1000);
      const file = fileOf(place, bytes);
      await archive.put(at, { file }, put);
      const away = { begin: takeAway, code: 'E_ARCHIVE_UNAVAILABLE' };
      for (const [how, outage] of Object.entries({ away, ...outages })) {
        await outage.begin();
        const asked = {
          reach: () => archive.ensureReachable(at),
          stat: () => archive.stat(at),
          'stat of nothing': () => archive.stat(key('absent.tar')),
          delete: () => archive.delete(at),
          list: () => collectKeys(archive, at.slice(0, at.lastIndexOf('/') + 1)),
          read: () => collect(archive.read(at, {})),
          get: () => archive.get(at, place.path('back.bin'), {}),
          put: () => archive.put(at, { file }, put),
        };
        for (const [what, ask] of Object.entries(asked))
          await expect(ask(), `${how}: ${what}`).rejects.toMatchObject({ code: outage.code });
        await bringBack();
        expect((await collect(archive.read(at, {}))).equals(bytes), how).toBe(true);
      }
    });

    test('a second put that breaks on its way leaves the first whole, and the next one replaces it', async () => {
      const { archive, key, place, bringBack, brokenPuts = {} } = await begin();
      const at = key('run1.tar');
      const first = randomBytes(5000);
      await archive.put(at, { file: fileOf(place, first, 'a') }, put);
      const second = fileOf(place, randomBytes(4000), 'b');
      for (const [how, breaks] of Object.entries(brokenPuts)) {
        await breaks();
        await expect(archive.put(at, { file: second }, put), how).rejects.toThrow();
        await bringBack();
        expect((await archive.stat(at))?.size, how).toBe(5000);
        expect((await collect(archive.read(at, {}))).equals(first), how).toBe(true);
        expect(await collectKeys(archive, at.slice(0, at.lastIndexOf('/') + 1)), how).toEqual([at]);
      }
      await archive.put(at, { file: second }, put);
      expect((await collect(archive.read(at, {}))).equals(readFileSync(second))).toBe(true);
      expect(await collectKeys(archive, at.slice(0, at.lastIndexOf('/') + 1))).toEqual([at]);
    });

    test('any part can be read by its place', async () => {
      const { archive, key, place } = await begin();
      const bytes = randomBytes(2 * MB + 1);
      const at = key('run1.tar');
      await archive.put(at, { file: fileOf(place, bytes) }, put);
      for (const [offset, length] of [
        [0, 1],
        [512, 1024],
        [MB - 1, MB],
        [bytes.length - 1, 1],
        [100, 0],
      ] as const) {
        const part = await collect(archive.read(at, { offset, length }));
        expect(part.equals(bytes.subarray(offset, offset + length)), `${length} at ${offset}`).toBe(true);
      }
      const tail = await collect(archive.read(at, { offset: MB }));
      expect(tail.equals(bytes.subarray(MB))).toBe(true);
    });

    test('an empty object is an object', async () => {
      const { archive, key, place } = await begin();
      const at = key('empty.tar');
      await archive.put(at, { file: fileOf(place, Buffer.alloc(0)) }, put);
      expect((await archive.stat(at))?.size).toBe(0);
      expect(await collect(archive.read(at, {}))).toHaveLength(0);
    });

    test('a second put takes the place of the first', async () => {
      const { archive, key, place } = await begin();
      const at = key('run1.tar');
      await archive.put(at, { file: fileOf(place, randomBytes(5000), 'a') }, put);
      const second = randomBytes(4000);
      await archive.put(at, { file: fileOf(place, second, 'b') }, { task_id: 'task-0002' });
      expect((await archive.stat(at))?.size).toBe(4000);
      expect((await collect(archive.read(at, {}))).equals(second)).toBe(true);
    });

    test('a stream is put as it comes, where the back end says so', async () => {
      const { archive, key } = await begin();
      if (!archive.capabilities.stream) {
        const refused = archive.put(key('s.tar'), { stream: chunks(Buffer.from('x'), 1), size: 1 }, put);
        await expect(refused).rejects.toThrow(/stream/);
        return;
      }
      const bytes = randomBytes(17 * MB + 3);
      for (const size of [null, bytes.length]) {
        const at = key(`stream-${size === null ? 'unknown' : 'known'}.tar`);
        const seen: number[] = [];
        const stored = await archive.put(
          at,
          { stream: chunks(bytes, 256 * 1024), size },
          { ...put, onProgress: (done) => seen.push(done) },
        );
        expect(stored.size).toBe(bytes.length);
        expect(seen.at(-1)).toBe(bytes.length);
        expect((await collect(archive.read(at, {}))).equals(bytes)).toBe(true);
      }
    });

    test('a stream that breaks, or an abort, leaves what was there', async () => {
      const { archive, key, place } = await begin();
      const at = key('run1.tar');
      const first = randomBytes(1000);
      await archive.put(at, { file: fileOf(place, first) }, put);
      if (archive.capabilities.stream) {
        const broken = async function* (): AsyncGenerator<Buffer> {
          yield randomBytes(6 * MB);
          throw new Error('the source broke');
        };
        await expect(archive.put(at, { stream: broken(), size: null }, put)).rejects.toThrow(
          'the source broke',
        );
        const stop = new AbortController();
        const endless = async function* (): AsyncGenerator<Buffer> {
          for (let sent = 0; ; sent++) {
            if (sent === 8) stop.abort(new Error('stopped by a person'));
            yield randomBytes(MB);
            await sleep(1);
          }
        };
        await expect(
          archive.put(at, { stream: endless(), size: null }, { ...put, signal: stop.signal }),
        ).rejects.toThrow();
      }
      const stopped = AbortSignal.abort(new Error('stopped before'));
      const file = fileOf(place, randomBytes(2000), 'later');
      await expect(archive.put(at, { file }, { ...put, signal: stopped })).rejects.toThrow();
      expect((await archive.stat(at))?.size).toBe(1000);
      expect((await collect(archive.read(at, {}))).equals(first)).toBe(true);
    });

    test('names of any kind survive', { timeout: 300_000 }, async () => {
      const { archive, key, place } = await begin();
      for (const name of NAMES) {
        const at = key(name);
        const bytes = Buffer.from(`content of ${name}`);
        await archive.put(at, { file: fileOf(place, bytes) }, put);
        expect((await archive.stat(at))?.size, name).toBe(bytes.length);
        expect((await collect(archive.read(at, {}))).toString(), name).toBe(bytes.toString());
      }
      const folder = key('x').slice(0, -1);
      const listed = [];
      for await (const one of archive.list(folder)) listed.push(one.key);
      expect(listed.sort()).toEqual(NAMES.map((name) => key(name)).sort());
      for (const name of NAMES) expect(await archive.delete(key(name)), name).toBe(true);
      const after = [];
      for await (const one of archive.list(folder)) after.push(one.key);
      expect(after).toEqual([]);
    });

    test('a bundle has its manifest beside it, and both go together', async () => {
      const { archive, key, place, open } = await begin();
      const at = key('run1.tar');
      await archive.put(at, { file: fileOf(place, randomBytes(10)) }, put);
      expect(await openManifest(archive, at, { scratch: place.dir('scratch') })).toBeNull();
      await archive.put(manifestKey(at), { file: fileOf(place, Buffer.from('the manifest')) }, put);
      const manifest = await openManifest(open(), at, { scratch: place.dir('scratch') });
      expect(readFileSync(manifest?.path ?? '', 'utf8')).toBe('the manifest');
      manifest?.close();
      if (archive.local === null)
        expect(statSync(manifest?.path ?? '', { throwIfNoEntry: false })).toBeUndefined();
      expect(await deleteBundle(archive, at)).toBe(true);
      expect(await archive.stat(manifestKey(at))).toBeNull();
    });
  });
}

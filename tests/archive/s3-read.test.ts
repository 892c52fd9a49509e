import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openManifest } from '../../workers/archive/bundles.ts';
import { manifestKey, originPath } from '../../workers/archive/contract.ts';
import { digestOf } from '../../workers/content/digest/digest.ts';
import { gather } from '../support/gather.ts';
import type { SeenRequest } from '../support/http-proxy.ts';
import {
  MB,
  makeS3Place,
  PART,
  type S3BackEnd,
  type S3Place,
  type S3Server,
  startS3Server,
} from '../support/s3.ts';
import { until } from '../support/until.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

const NAME = 'run1.tar';
const put = { task_id: 'task-0001' };

interface Stored extends S3Place {
  readonly bytes: Buffer;
  readonly target: string;
}

async function stored(size: number, more: Partial<S3BackEnd> = {}): Promise<Stored> {
  const at = await makeS3Place(server, more);
  const bytes = randomBytes(size);
  const file = at.place.path('bundle');
  writeFileSync(file, bytes);
  await at.archive.put(at.path(NAME), { file }, put);
  at.proxy.seen.length = 0;
  return { ...at, bytes, target: at.place.path('back') };
}

const isRead = ({ method, url }: SeenRequest): boolean => method === 'GET' && url.includes(NAME);
const ranges = ({ proxy }: S3Place): unknown[] =>
  proxy.seen.filter(isRead).map(({ headers }) => headers.range ?? null);
const readAll = async ({ archive, path }: S3Place, offset = 0): Promise<Buffer> =>
  Buffer.concat(await gather(archive.read(path(NAME), { offset })));

test('a read whose connection breaks goes on where it broke, of the same object', async () => {
  const at = await stored(12 * MB);
  at.proxy.faults = [
    { when: isRead, times: 1, how: { drop: 5 * MB } },
    { when: isRead, times: 1, how: { drop: 0 } },
    { when: isRead, times: 1, how: { drop: 3 * MB } },
  ];
  expect((await readAll(at, 1000)).equals(at.bytes.subarray(1000))).toBe(true);
  const [first, second, third, fourth] = ranges(at).map((range) =>
    Number(/^bytes=(\d+)-/.exec(String(range))?.[1]),
  );
  expect(first).toBe(1000);
  expect(second).toBeGreaterThan(1000);
  expect(second).toBeLessThanOrEqual(1000 + 5 * MB);
  expect(third).toBe(second);
  expect(fourth).toBeGreaterThan(third ?? 0);
  const [, ...later] = at.proxy.seen.filter(isRead);
  const { ETag } = await at.direct.headObject({ Bucket: server.bucket, Key: at.key(NAME) });
  for (const { headers } of later) expect(headers['if-match']).toBe(ETag);
});

test('a read that stalls goes on by another connection', async () => {
  const at = await stored(6 * MB, { stall_seconds: 2 });
  at.proxy.faults = [{ when: isRead, times: 2, how: { stall: 2 * MB } }];
  expect((await readAll(at)).equals(at.bytes)).toBe(true);
  expect(ranges(at)).toHaveLength(3);
});

test('a read that breaks again and again is an outage', async () => {
  const at = await stored(6 * MB);
  at.proxy.faults = [{ when: isRead, how: { drop: 1000 } }];
  await expect(readAll(at)).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE', class: 'retryable' });
  expect(ranges(at)).toHaveLength(5);
});

test.for([
  ['by a server that heeds If-Match', []],
  ['and by us where the server does not', [{ when: isRead, how: { without: 'if-match' } }]],
] as const)('an object that is replaced while it is read is noticed %s', async ([, ignorance], context) => {
  if (!server.own && ignorance.length > 0) context.skip('the header is part of what the request signs');
  const at = await stored(6 * MB);
  at.proxy.faults = [{ when: isRead, times: 1, how: { drop: 2 * MB } }, ...ignorance];
  const reading = at.archive.read(at.path(NAME), {})[Symbol.asyncIterator]();
  await reading.next();
  const Body = randomBytes(6 * MB);
  await at.direct.putObject({ Bucket: server.bucket, Key: at.key(NAME), Body });
  const rest = async (): Promise<void> => {
    for (let next = await reading.next(); next.done !== true; ) next = await reading.next();
  };
  await expect(rest()).rejects.toMatchObject({ code: 'E_TRANSFER' });
});

test('a read that is aborted ends with the reason of its signal', async () => {
  const at = await stored(6 * MB);
  at.proxy.faults = [{ when: isRead, how: { stall: 1 * MB } }];
  const stop = new AbortController();
  const reason = new Error('enough');
  const reading = at.archive.read(at.path(NAME), { signal: stop.signal });
  await expect(
    (async () => {
      let size = 0;
      for await (const chunk of reading) if ((size += chunk.length) === MB) stop.abort(reason);
    })(),
  ).rejects.toBe(reason);
});

test('a get goes on where an earlier one has ended', async () => {
  const at = await stored(2 * PART + 100);
  const { archive, path, target, proxy, bytes } = at;
  proxy.faults = [
    { when: isRead, times: 1, how: { drop: PART } },
    { when: isRead, how: { status: 404, code: 'NoSuchKey' } },
  ];
  await expect(archive.get(path(NAME), target, {})).rejects.toMatchObject({ code: 'E_BUNDLE_MISSING' });
  const { size } = statSync(target);
  expect(size).toBeGreaterThan(0);
  expect(existsSync(originPath(target))).toBe(true);
  proxy.faults = [];
  proxy.seen.length = 0;
  const seen: number[] = [];
  await archive.get(path(NAME), target, { onProgress: (done) => seen.push(done) });
  expect(ranges(at)).toEqual([`bytes=${size}-`]);
  expect(seen[0]).toBeGreaterThan(size);
  expect(seen.at(-1)).toBe(bytes.length);
  expect(readFileSync(target).equals(bytes)).toBe(true);
  expect(existsSync(originPath(target))).toBe(false);
});

test('a get that was killed goes on from the last sync', async () => {
  const at = await stored(80 * MB, { part_bytes: 64 * MB });
  const { place, archive, path, target, proxy, bytes } = at;
  proxy.faults = [{ when: isRead, how: { stall: 70 * MB } }];
  const script = `
    const { openArchive } = await import(${JSON.stringify(new URL('../../workers/archive/index.ts', import.meta.url).href)});
    const { loadConfig } = await import(${JSON.stringify(new URL('../../config/index.ts', import.meta.url).href)});
    const { config } = await loadConfig();
    const [key, target] = process.argv.slice(1);
    await openArchive(config, 's3').get(key, target, {});
  `;
  const args = ['--input-type=module', '-e', script, path(NAME), target];
  const child = spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...place.env } });
  const gone = once(child, 'close');
  await until(() => (statSync(target, { throwIfNoEntry: false })?.size ?? 0) === 70 * MB, {
    what: 'the first 70 MB',
  });
  child.kill('SIGKILL');
  await gone;
  proxy.faults = [];
  proxy.seen.length = 0;
  await archive.get(path(NAME), target, {});
  const [range] = ranges(at);
  const from = Number(/^bytes=(\d+)-$/.exec(String(range))?.[1]);
  expect(from).toBeGreaterThanOrEqual(64 * MB);
  expect(from).toBeLessThanOrEqual(70 * MB);
  expect(readFileSync(target).equals(bytes)).toBe(true);
});

test('a manifest that could not be fetched leaves nothing in the scratch folder', async () => {
  const at = await stored(1 * MB);
  const file = at.place.path('bundle');
  await at.archive.put(manifestKey(at.path(NAME)), { file }, put);
  at.proxy.faults = [
    { when: isRead, times: 1, how: { drop: 500_000 } },
    { when: isRead, how: { status: 404, code: 'NoSuchKey' } },
  ];
  const scratch = at.place.dir('scratch');
  await expect(openManifest(at.archive, at.path(NAME), { scratch })).rejects.toThrow();
  expect(readdirSync(scratch)).toEqual([]);
});

test('a get does not go on with the bytes of another object', async () => {
  const at = await stored(1 * MB);
  const { archive, path, target } = at;
  await broken(at);
  const Body = randomBytes(1 * MB);
  await at.direct.putObject({ Bucket: server.bucket, Key: at.key(NAME), Body });
  await archive.get(path(NAME), target, {});
  expect(ranges(at)).toEqual([null]);
  expect(readFileSync(target).equals(Body)).toBe(true);
});

/** A get that broke in the middle. */
async function broken(at: Awaited<ReturnType<typeof stored>>): Promise<void> {
  at.proxy.faults = [
    { when: isRead, times: 1, how: { drop: 500_000 } },
    { when: isRead, how: { status: 404, code: 'NoSuchKey' } },
  ];
  await expect(at.archive.get(at.path(NAME), at.target, {})).rejects.toThrow();
  at.proxy.faults = [];
  at.proxy.seen.length = 0;
}

const flipped = (path: string): Buffer => {
  const bytes = readFileSync(path);
  bytes[1000] = (bytes[1000] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  return bytes;
};

test('what was kept of a get and has changed is fetched again', async () => {
  const at = await stored(1 * MB);
  await broken(at);
  flipped(at.target);
  await at.archive.get(at.path(NAME), at.target, {});
  expect(ranges(at)).toEqual([null]);
  expect(readFileSync(at.target).equals(at.bytes)).toBe(true);
});

test('bytes that changed on their way are noticed by the MD5', async () => {
  const at = await stored(1 * MB);
  const { archive, path, target, bytes } = at;
  await broken(at);
  // As if they had come so.
  const { blake3 } = digestOf(['blake3'], flipped(target));
  const origin = JSON.parse(readFileSync(originPath(target), 'utf8')) as Record<string, unknown>;
  writeFileSync(originPath(target), JSON.stringify({ ...origin, blake3 }));
  await expect(archive.get(path(NAME), target, {})).rejects.toMatchObject({
    code: 'E_TRANSFER',
    message: expect.stringContaining('MD5'),
  });
  expect(existsSync(target)).toBe(false);
  expect(existsSync(originPath(target))).toBe(false);
  await archive.get(path(NAME), target, {});
  expect(readFileSync(target).equals(bytes)).toBe(true);
});

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import { gather } from '../support/gather.ts';
import type { SeenRequest } from '../support/http-proxy.ts';
import { makeS3Place, PART, partOf, type S3Place, type S3Server, startS3Server } from '../support/s3.ts';
import { until } from '../support/until.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

const NAME = 'run1.tar';
const put = { task_id: 'task-0001' };
const fileOf = ({ place }: S3Place, bytes: Buffer): string => {
  writeFileSync(place.path('bundle'), bytes);
  return place.path('bundle');
};
const readBack = async ({ archive, path }: S3Place): Promise<Buffer> =>
  Buffer.concat(await gather(archive.read(path(NAME), {})));

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 300_000) yield bytes.subarray(at, at + 300_000);
}

const isCompletion = ({ method, url }: SeenRequest): boolean =>
  method === 'POST' && url.includes('uploadId=');

/** Puts what may not go past the first `parts` parts, in a process that is killed when they are there. */
async function putAndKill(at: S3Place, file: string, parts: number): Promise<void> {
  at.proxy.faults = [
    { when: (request) => (partOf(request) ?? 0) > parts || isCompletion(request), how: 'hold' },
  ];
  const script = `
    const { openArchive } = await import(${JSON.stringify(new URL('../../workers/archive/index.ts', import.meta.url).href)});
    const { loadConfig } = await import(${JSON.stringify(new URL('../../config/index.ts', import.meta.url).href)});
    const { config } = await loadConfig();
    const [file, key] = process.argv.slice(1);
    await openArchive(config, 's3').put(key, { file }, { task_id: 'task-0001' });
  `;
  const args = ['--input-type=module', '-e', script, file, at.path(NAME)];
  const child = spawn(process.execPath, args, {
    stdio: 'inherit',
    env: { ...process.env, ...at.place.env },
  });
  const gone = once(child, 'close');
  await until(() => at.ledgers()[0]?.length === parts + 1, { what: `${parts} parts in the ledger` });
  child.kill('SIGKILL');
  await gone;
  at.proxy.faults = [];
  at.partsSent();
}

test('an upload that was killed is continued: parts that arrived are not sent again', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(7 * PART + 1234);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 5);
  expect(await at.archive.stat(at.path(NAME))).toBeNull();
  const [id] = await at.unfinished(NAME);
  const seen: number[] = [];
  const done = await at.archive.put(
    at.path(NAME),
    { file },
    { ...put, onProgress: (size) => seen.push(size) },
  );
  expect(done.size).toBe(bytes.length);
  expect(at.partsSent()).toEqual([6, 7, 8]);
  expect(at.proxy.seen.some(({ url }) => url.includes(`uploadId=${id}`))).toBe(true);
  expect(seen.slice(0, 5)).toEqual([1, 2, 3, 4, 5].map((number) => number * PART));
  expect(seen.at(-1)).toBe(bytes.length);
  expect((await readBack(at)).equals(bytes)).toBe(true);
  expect(at.ledgers()).toEqual([]);
  expect(await at.unfinished(NAME)).toEqual([]);
});

test('the same goes on from a stream, cut alike, of another task', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(4 * PART);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 2);
  const source = { stream: chunksOf(bytes), size: bytes.length };
  await at.archive.put(at.path(NAME), source, { task_id: 'task-0002' });
  expect(at.partsSent()).toEqual([3, 4]);
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

test('an upload that was begun with other metadata is begun anew: they cannot be changed', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(3 * PART);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 2);
  await at.archive.put(at.path(NAME), { file, digests: { blake3: 'of the bundle' } }, put);
  expect(at.partsSent()).toEqual([1, 2, 3]);
  const { Metadata } = await at.direct.headObject({ Bucket: server.bucket, Key: at.key(NAME) });
  expect(Metadata).toEqual({ blake3: 'of the bundle' });
  expect(await at.unfinished(NAME)).toEqual([]);
});

test('from the first part that is another, everything is sent anew', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(6 * PART);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 4);
  bytes[PART + 17] = (bytes[PART + 17] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  await at.archive.put(at.path(NAME), { file }, put);
  expect(at.partsSent()).toEqual([2, 3, 4, 5, 6]);
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

test('a part that the server does not state as the ledger does is sent again', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(4 * PART);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 3);
  const [UploadId] = await at.unfinished(NAME);
  const Body = randomBytes(PART);
  await at.direct.uploadPart({ Bucket: server.bucket, Key: at.key(NAME), UploadId, PartNumber: 2, Body });
  await at.archive.put(at.path(NAME), { file }, put);
  expect(at.partsSent()).toEqual([2, 4]);
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

test('an upload that the server no longer knows is begun anew', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(3 * PART);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 2);
  const [UploadId] = await at.unfinished(NAME);
  await at.direct.abortMultipartUpload({ Bucket: server.bucket, Key: at.key(NAME), UploadId });
  await at.archive.put(at.path(NAME), { file }, put);
  expect(at.partsSent()).toEqual([1, 2, 3]);
  expect((await readBack(at)).equals(bytes)).toBe(true);
  expect(at.ledgers()).toEqual([]);
});

test('an upload that somebody ends while parts are under way fails, and the next attempt begins anew', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(5 * PART);
  const file = fileOf(at, bytes);
  at.proxy.faults = [
    { when: (request) => partOf(request) === 4, how: { status: 404, code: 'NoSuchUpload' } },
  ];
  await expect(at.archive.put(at.path(NAME), { file }, put)).rejects.toMatchObject({
    code: 'E_TRANSFER',
    class: 'retryable',
  });
  expect(at.ledgers()).toEqual([]);
  at.proxy.faults = [];
  await at.archive.put(at.path(NAME), { file }, put);
  expect((await readBack(at)).equals(bytes)).toBe(true);
  expect(await at.unfinished(NAME)).toEqual([]);
});

test('an upload that is gone with all its parts is not taken for an older object of the same size', async () => {
  const at = await makeS3Place(server);
  await at.archive.put(at.path(NAME), { file: fileOf(at, randomBytes(3 * PART)) }, put);
  const bytes = randomBytes(3 * PART);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 3);
  const [UploadId] = await at.unfinished(NAME);
  await at.direct.abortMultipartUpload({ Bucket: server.bucket, Key: at.key(NAME), UploadId });
  await at.archive.put(at.path(NAME), { file }, put);
  expect(at.partsSent()).toEqual([1, 2, 3]);
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

test('an upload that is gone when it is to be completed leaves an older object of the same size as it is', async () => {
  const at = await makeS3Place(server);
  const before = randomBytes(3 * PART);
  await at.archive.put(at.path(NAME), { file: fileOf(at, before) }, put);
  at.proxy.faults = [{ when: isCompletion, how: { status: 404, code: 'NoSuchUpload' } }];
  const file = fileOf(at, randomBytes(3 * PART));
  await expect(at.archive.put(at.path(NAME), { file }, put)).rejects.toMatchObject({ code: 'E_TRANSFER' });
  expect((await readBack(at)).equals(before)).toBe(true);
  expect(at.ledgers()).toEqual([]);
});

test('a bundle of another plan, or small enough for one request, leaves nothing of the old upload', async () => {
  const at = await makeS3Place(server);
  for (const source of [
    { stream: chunksOf(randomBytes(2 * PART)), size: null },
    { stream: chunksOf(randomBytes(1000)), size: 1000 },
  ]) {
    await putAndKill(at, fileOf(at, randomBytes(3 * PART)), 2);
    await at.archive.put(at.path(NAME), source, put);
    expect(await at.unfinished(NAME)).toEqual([]);
    expect(at.ledgers()).toEqual([]);
  }
});

test('what another host has begun is aborted, and so is what nobody has gone on with for a week', async () => {
  const at = await makeS3Place(server);
  const Key = at.key(NAME);
  await at.direct.createMultipartUpload({ Bucket: server.bucket, Key });
  await at.direct.createMultipartUpload({ Bucket: server.bucket, Key: at.key('run1.tar.other') });
  const file = fileOf(at, randomBytes(2 * PART));
  await at.archive.put(at.path(NAME), { file }, put);
  expect(await at.unfinished(NAME)).toHaveLength(1); // The other key, which begins alike.
  await putAndKill(at, file, 1);
  const folder = join(at.place.config.state_dir, 'uploads');
  const [ledger = ''] = readdirSync(folder);
  const old = new Date(Date.now() - 8 * 24 * 3600 * 1000);
  utimesSync(join(folder, ledger), old, old);
  await at.archive.put(at.path('run2.tar'), { file }, put);
  expect(at.ledgers()).toEqual([]);
  expect(await at.unfinished(NAME)).toHaveLength(1);
});

test('a delete takes the unfinished upload with it', async () => {
  const at = await makeS3Place(server);
  await putAndKill(at, fileOf(at, randomBytes(3 * PART)), 2);
  expect(await at.archive.delete(at.path(NAME))).toBe(false);
  expect(await at.unfinished(NAME)).toEqual([]);
  expect(at.ledgers()).toEqual([]);
});

test('an abort that leaves parts behind is asked for again', async () => {
  const at = await makeS3Place(server);
  await putAndKill(at, fileOf(at, randomBytes(3 * PART)), 2);
  const isAbort = ({ method, url }: SeenRequest): boolean => method === 'DELETE' && url.includes('uploadId=');
  at.proxy.faults = [{ when: isAbort, times: 1, how: { status: 204, code: 'done' } }];
  await at.archive.delete(at.path(NAME));
  expect(at.proxy.seen.filter(isAbort)).toHaveLength(2);
  expect(await at.unfinished(NAME)).toEqual([]);
});

test.for([
  ['of a person leaves nothing', new LongshoreError('E_REVOKED', 'paused'), 0],
  ['without a code leaves nothing', new Error('gone'), 0],
  ['of a worker that shuts down leaves the parts', new LongshoreError('E_WORKER_STOPPED', 'stopped'), 1],
] as const)('an abort %s', async ([, reason, left]) => {
  const at = await makeS3Place(server);
  const stop = new AbortController();
  const bytes = randomBytes(5 * PART);
  at.proxy.faults = [{ when: (request) => (partOf(request) ?? 0) > 2, how: 'hold' }];
  const putting = at.archive.put(at.path(NAME), { file: fileOf(at, bytes) }, { ...put, signal: stop.signal });
  const ended = expect(putting).rejects.toBe(reason);
  await until(() => at.ledgers()[0]?.length === 3, { what: 'two parts' });
  stop.abort(reason);
  await ended;
  expect(await at.unfinished(NAME)).toHaveLength(left);
  expect(at.ledgers()).toHaveLength(left);
  expect(await at.archive.stat(at.path(NAME))).toBeNull();
});

test('a source that is silent for ever is left when the signal says so', async () => {
  const at = await makeS3Place(server);
  const silent = async function* (): AsyncGenerator<Buffer> {
    yield randomBytes(1000);
    await new Promise(() => undefined);
  };
  const stop = new AbortController();
  const reason = new Error('enough');
  const options = { ...put, signal: stop.signal };
  const putting = at.archive.put(at.path(NAME), { stream: silent(), size: null }, options);
  stop.abort(reason);
  await expect(putting).rejects.toBe(reason);
});

test('an outage in the middle keeps what has arrived for the next attempt', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(5 * PART);
  const file = fileOf(at, bytes);
  at.proxy.faults = [{ when: (request) => partOf(request) === 4, how: { status: 503, code: 'SlowDown' } }];
  await expect(at.archive.put(at.path(NAME), { file }, put)).rejects.toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    class: 'retryable',
  });
  const kept = (at.ledgers()[0] ?? []).slice(1).map(({ number }) => Number(number));
  expect(kept).toContain(1);
  at.proxy.faults = [];
  at.partsSent();
  await at.archive.put(at.path(NAME), { file }, put);
  expect(at.partsSent()).toEqual([1, 2, 3, 4, 5].filter((number) => !kept.includes(number)));
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

test('a source that gives more or less than it said becomes no object', async () => {
  const at = await makeS3Place(server);
  for (const [bytes, size] of [
    [PART, 2 * PART],
    [1000, 2000],
    [2 * PART + 1, 2 * PART],
  ] as const) {
    const source = { stream: chunksOf(randomBytes(bytes)), size };
    await expect(at.archive.put(at.path(NAME), source, put)).rejects.toMatchObject({ code: 'E_TRANSFER' });
    expect(await at.archive.stat(at.path(NAME))).toBeNull();
  }
});

test('a byte that changes on its way is noticed, in a part and in a whole object', async () => {
  const at = await makeS3Place(server);
  const damaged = { code: 'E_TRANSFER', class: 'retryable' };
  const bytes = randomBytes(3 * PART);
  const file = fileOf(at, bytes);
  at.proxy.faults = [{ when: (request) => partOf(request) === 2, how: 'corrupt' }];
  await expect(at.archive.put(at.path(NAME), { file }, put)).rejects.toMatchObject(damaged);
  expect(at.proxy.seen.some(isCompletion)).toBe(false);
  expect(await at.archive.stat(at.path(NAME))).toBeNull();
  at.proxy.faults = [];
  await at.archive.put(at.path(NAME), { file }, put);
  expect((await readBack(at)).equals(bytes)).toBe(true);
  at.proxy.faults = [{ when: ({ method }) => method === 'PUT', how: 'corrupt' }];
  const small = { stream: chunksOf(randomBytes(1000)), size: null };
  await expect(at.archive.put(at.path('small.tar'), small, put)).rejects.toMatchObject(damaged);
  expect(await at.archive.stat(at.path('small.tar'))).toBeNull();
});

test('an answer that was lost on its way back is asked for again', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(3 * PART);
  at.proxy.faults = [
    { when: isCompletion, times: 1, how: 'lose' },
    { when: (request) => partOf(request) === 2, times: 1, how: 'lose' },
  ];
  await at.archive.put(at.path(NAME), { file: fileOf(at, bytes) }, put);
  expect(at.proxy.faults).toMatchObject([{ times: 0 }, { times: 0 }]);
  expect((await readBack(at)).equals(bytes)).toBe(true);
  expect(at.ledgers()).toEqual([]);
});

test('an attempt that ended between the object and the end of its ledger is not done again', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(3 * PART);
  const file = fileOf(at, bytes);
  const folder = join(at.place.config.state_dir, 'uploads');
  at.proxy.faults = [
    {
      when: (request) => {
        const [ledger = ''] = isCompletion(request) ? readdirSync(folder) : [];
        if (isCompletion(request)) copyFileSync(join(folder, ledger), at.place.path(ledger));
        return false;
      },
      how: 'hold',
    },
  ];
  await at.archive.put(at.path(NAME), { file }, put);
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
  const ledger = readdirSync(at.place.folder).find((name) => name.endsWith('.ndjson')) ?? '';
  copyFileSync(at.place.path(ledger), join(folder, ledger));
  at.partsSent();
  expect((await at.archive.put(at.path(NAME), { file }, put)).size).toBe(bytes.length);
  expect(at.partsSent()).toEqual([]);
  // And when the source is another by now, the first attempt finds out and the second sends it.
  copyFileSync(at.place.path(ledger), join(folder, ledger));
  bytes[PART * 2] = (bytes[PART * 2] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  await expect(at.archive.put(at.path(NAME), { file }, put)).rejects.toMatchObject({ code: 'E_TRANSFER' });
  await at.archive.put(at.path(NAME), { file }, put);
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

test('a server that cannot list parts is believed by the ledger, and checked at the end', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(4 * PART);
  const file = fileOf(at, bytes);
  const cannotList = {
    when: ({ method, url }: { method: string; url: string }) =>
      method === 'GET' && /uploads|uploadId/.test(url),
    how: { status: 501, code: 'NotImplemented' },
  };
  await putAndKill(at, file, 2);
  at.proxy.faults = [cannotList];
  await at.archive.put(at.path(NAME), { file }, put);
  expect(at.partsSent()).toEqual([3, 4]);
  expect((await readBack(at)).equals(bytes)).toBe(true);
  await at.archive.delete(at.path(NAME));
  await putAndKill(at, file, 4);
  const [UploadId] = await at.unfinished(NAME);
  await at.direct.abortMultipartUpload({ Bucket: server.bucket, Key: at.key(NAME), UploadId });
  at.proxy.faults = [cannotList];
  await expect(at.archive.put(at.path(NAME), { file }, put)).rejects.toMatchObject({ code: 'E_TRANSFER' });
  expect(at.ledgers()).toEqual([]);
  await at.archive.put(at.path(NAME), { file }, put);
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

test('a ledger that a power cut left half is read as far as it goes', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(4 * PART);
  const file = fileOf(at, bytes);
  await putAndKill(at, file, 3);
  const folder = join(at.place.config.state_dir, 'uploads');
  const path = join(folder, readdirSync(folder)[0] ?? '');
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  writeFileSync(path, `${lines.slice(0, 3).join('\n')}\n${lines[3]?.slice(0, 20)}`);
  await at.archive.put(at.path(NAME), { file }, put);
  expect(at.partsSent()).toHaveLength(2);
  expect((await readBack(at)).equals(bytes)).toBe(true);
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openArchive } from '../../workers/archive/index.ts';
import { gather } from '../support/gather.ts';
import { startHttpProxy } from '../support/http-proxy.ts';
import { makePlace } from '../support/place.ts';
import { backEndOf, MB, makeS3Place, PART, type S3Server, startS3Server } from '../support/s3.ts';
import { until } from '../support/until.ts';
import { archiveBattery } from './battery.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

archiveBattery('s3', async (place) => {
  const proxy = await startHttpProxy(server.url);
  const s3 = backEndOf(server, proxy);
  const { archive } = place.config;
  const config = { ...place.config, archive: { ...archive, backends: { ...archive.backends, s3 } } };
  return {
    place,
    open: () => openArchive(config, 's3'),
    key: (name) => place.config.paths.RAW_DATA.archive.replace('{year}', '2026').concat(`/${name}`),
    takeAway: proxy.takeAway,
    bringBack: proxy.bringBack,
  };
});

const put = { task_id: 'task-0001' };
const read = async (bytes: AsyncIterable<Buffer>): Promise<Buffer> => Buffer.concat(await gather(bytes));

test('a key is the prefix and the archive path; a list is written as its folder is', async () => {
  const { archive, place, path } = await makeS3Place(server);
  const file = place.path('file');
  writeFileSync(file, 'bundle');
  await archive.put(path('run1.tar'), { file }, put);
  const folder = path('').slice(0, -1);
  expect(archive.locate(path('run1.tar'))).toBe(`s3://${server.bucket}/longshore${folder}/run1.tar`);
  expect(await gather(archive.list(`${folder}/`))).toEqual([{ key: path('run1.tar'), size: 6 }]);
  const bare = `${folder.slice(1)}/`;
  expect(await gather(archive.list(bare))).toEqual([{ key: `${bare}run1.tar`, size: 6 }]);
  expect((await archive.stat(`${bare}run1.tar`))?.size).toBe(6);
});

test('storage class, digests and the MD5 of every request go with the bytes', async () => {
  const { archive, place, path, proxy, direct, key } = await makeS3Place(server, {
    storage_class: 'STANDARD_IA',
  });
  const file = place.path('file');
  const digests = { md5: '0'.repeat(32), blake3: '1'.repeat(64) };
  for (const [name, size, how] of [
    ['small.tar', 1000, /x-id=PutObject/],
    ['large.tar', 2 * PART + 1, /\?uploads/],
  ] as const) {
    writeFileSync(file, Buffer.alloc(size, name));
    await archive.put(path(name), { file, digests }, put);
    const sent = proxy.seen.find(({ method, url }) => method !== 'GET' && how.test(url));
    expect(sent?.headers).toMatchObject({
      'x-amz-storage-class': 'STANDARD_IA',
      'x-amz-meta-md5': digests.md5,
      'x-amz-meta-blake3': digests.blake3,
    });
    const { Metadata } = await direct.headObject({ Bucket: server.bucket, Key: key(name) });
    expect(Metadata).toEqual(digests);
  }
  const puts = proxy.seen.filter(({ method }) => method === 'PUT');
  expect(puts).toHaveLength(4);
  for (const { headers } of puts) {
    expect(headers['content-md5']).toMatch(/^[A-Za-z0-9+/]{22}==$/);
    expect(headers['x-amz-trailer']).toBeUndefined();
  }
});

test('keys that the server does not know are for a person to correct', async (context) => {
  if (!server.own) context.skip('the codes of another server are its own');
  const { archive, path } = await makeS3Place(server, { access_key_id: 'nobody' });
  const denied = { code: 'E_ARCHIVE_DENIED', class: 'operator' };
  await expect(archive.ensureReachable(path('x'))).rejects.toMatchObject(denied);
  await expect(archive.stat(path('x'))).rejects.toMatchObject(denied);
  await expect(read(archive.read(path('x'), {}))).rejects.toMatchObject({
    ...denied,
    message: expect.stringContaining('InvalidAccessKeyId'),
  });
});

test('a bucket that is missing is no absence of bundles', async () => {
  const { archive, path, place } = await makeS3Place(server, { bucket: 'no-such-bucket' });
  const file = place.path('file');
  writeFileSync(file, 'bundle');
  const outage = {
    code: 'E_ARCHIVE_UNAVAILABLE',
    class: 'operator',
    hint: expect.stringContaining('archive.backends.s3'),
  };
  await expect(archive.stat(path('x'))).rejects.toMatchObject(outage);
  await expect(archive.delete(path('x'))).rejects.toMatchObject(outage);
  await expect(read(archive.read(path('x'), {}))).rejects.toMatchObject(outage);
  await expect(archive.get(path('x'), place.path('y'), {})).rejects.toMatchObject(outage);
  await expect(archive.put(path('x'), { file }, put)).rejects.toMatchObject(outage);
});

test.for([
  [503, 'SlowDown', 'E_ARCHIVE_UNAVAILABLE', 'retryable', 'SlowDown'],
  [403, 'InvalidObjectState', 'E_ARCHIVE_UNAVAILABLE', 'operator', 'not online'],
  [403, 'AccessDenied', 'E_ARCHIVE_DENIED', 'operator', 'AccessDenied'],
  [301, 'PermanentRedirect', 'E_ARCHIVE_UNAVAILABLE', 'operator', 'PermanentRedirect'],
  [400, 'RequestTimeout', 'E_ARCHIVE_UNAVAILABLE', 'retryable', 'RequestTimeout'],
  [400, 'BadDigest', 'E_TRANSFER', 'retryable', 'BadDigest'],
  [507, 'StorageFull', 'E_NO_SPACE', 'operator', 'StorageFull'],
] as const)('the answer %i %s is %s, %s', async ([status, code, expected, kind, text]) => {
  const { archive, path, proxy } = await makeS3Place(server);
  proxy.faults = [{ when: () => true, how: { status, code } }];
  await expect(read(archive.read(path('x'), {}))).rejects.toMatchObject({
    code: expected,
    class: kind,
    message: expect.stringContaining(text),
  });
});

test('a call is left at once when its signal says so, whatever the server does', async () => {
  const { archive, path, proxy, place } = await makeS3Place(server);
  proxy.faults = [{ when: () => true, how: 'hold' }];
  const reason = new Error('enough');
  const calls = [
    (signal: AbortSignal) => archive.ensureReachable(path('x'), { signal }),
    (signal: AbortSignal) => archive.stat(path('x'), { signal }),
    (signal: AbortSignal) => archive.delete(path('x'), { signal }),
    (signal: AbortSignal) => archive.get(path('x'), place.path('y'), { signal }),
    (signal: AbortSignal) => read(archive.read(path('x'), { signal })),
    (signal: AbortSignal) => gather(archive.list('', { signal })),
  ];
  for (const [index, call] of calls.entries()) {
    const stop = new AbortController();
    const ended = expect(call(stop.signal)).rejects.toBe(reason);
    await until(() => proxy.seen.length === index + 1, { what: 'the request' });
    stop.abort(reason);
    await ended;
  }
});

test('one key without the other is a mistake in the configuration', async () => {
  const place = await makePlace({
    archive: { backends: { s3: { kind: 's3', bucket: 'b', access_key_id: 'id' } } },
  });
  expect(() => openArchive(place.config, 's3')).toThrow(/archive\.backends\.s3\.secret_access_key: missing/);
});

test('a process that has used the archive ends by itself', async () => {
  const { place, path } = await makeS3Place(server);
  writeFileSync(place.path('file'), Buffer.alloc(2 * MB, 'x'));
  const script = `
    const { openArchive } = await import(${JSON.stringify(new URL('../../workers/archive/index.ts', import.meta.url).href)});
    const { loadConfig } = await import(${JSON.stringify(new URL('../../config/index.ts', import.meta.url).href)});
    const { config } = await loadConfig();
    const [file, key] = process.argv.slice(1);
    const archive = openArchive(config, 's3');
    await archive.put(key, { file }, { task_id: 'task-0001' });
    for await (const chunk of archive.read(key, {})) { console.log(chunk.length > 0); break; }
    await archive.get(key, file + '-back', {});
  `;
  const args = ['--input-type=module', '-e', script, place.path('file'), path('run1.tar')];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...place.env },
  });
  let said = '';
  child.stdout.on('data', (text: Buffer) => (said += String(text)));
  const [code] = (await once(child, 'close')) as [number | null];
  expect({ code, said }).toEqual({ code: 0, said: 'true\n' });
});

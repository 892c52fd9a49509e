/** A proxy that puts a page with status 200 in the place of single answers: nothing counts as done that was not. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { gather } from '../support/gather.ts';
import type { SeenRequest } from '../support/http-proxy.ts';
import { makeS3Place, MB, PART, partOf, type S3Place, type S3Server, startS3Server } from '../support/s3.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

const NAME = 'run1.tar';
const options = { task_id: 'task-0001' };
const stranger = { code: 'E_ARCHIVE_UNAVAILABLE', class: 'retryable', message: /is no S3 server/ };
const outage = expect.objectContaining({ ...stranger, message: expect.stringMatching(stranger.message) });

const has = (url: string, name: string): boolean => new URL(url, 'http://any').searchParams.has(name);
const REQUESTS = {
  put: ({ method, url }: SeenRequest) => method === 'PUT' && !has(url, 'partNumber'),
  part: (seen: SeenRequest) => partOf(seen) === 2,
  create: ({ method, url }: SeenRequest) => method === 'POST' && has(url, 'uploads'),
  complete: ({ method, url }: SeenRequest) => method === 'POST' && has(url, 'uploadId'),
  'parts list': ({ method, url }: SeenRequest) => method === 'GET' && has(url, 'uploadId'),
  'list of uploads': ({ method, url }: SeenRequest) => method === 'GET' && has(url, 'uploads'),
  abort: ({ method, url }: SeenRequest) => method === 'DELETE' && has(url, 'uploadId'),
  removal: ({ method, url }: SeenRequest) => method === 'DELETE' && !has(url, 'uploadId'),
} as const;

const page = (at: S3Place, of: keyof typeof REQUESTS): void => {
  at.proxy.faults = [{ when: REQUESTS[of], how: { page: '<html><body>log in</body></html>' } }];
};

const store = (at: S3Place, bytes: Buffer): Promise<unknown> => {
  writeFileSync(at.place.path('bundle'), bytes);
  return at.archive.put(at.path(NAME), { file: at.place.path('bundle') }, options);
};

const stored = async (at: S3Place): Promise<Buffer> => {
  at.proxy.faults = [];
  return Buffer.concat(await gather(at.archive.read(at.path(NAME), {})));
};

/** An upload of which two parts have arrived. */
async function half(at: S3Place, bytes: Buffer): Promise<void> {
  at.proxy.faults = [
    { when: (seen) => (partOf(seen) ?? 0) > 2, how: { status: 400, code: 'RequestTimeout' } },
  ];
  await expect(store(at, bytes)).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  at.proxy.faults = [];
  at.partsSent();
}

test.for([
  ['put', 1 * MB],
  ['part', 2 * PART + 1],
  ['create', 2 * PART + 1],
  ['complete', 2 * PART + 1],
  ['list of uploads', 2 * PART + 1],
] as const)(
  'in the place of the answer to %s what lay there before is not taken for what was sent, though as long',
  async ([of, size]) => {
    const at = await makeS3Place(server);
    const [before, after] = [randomBytes(size), randomBytes(size)];
    await store(at, before);
    page(at, of);
    await expect(store(at, after)).rejects.toEqual(outage);
    expect((await stored(at)).equals(before)).toBe(true);
    await store(at, after);
    expect((await stored(at)).equals(after)).toBe(true);
    expect(at.ledgers()).toEqual([]);
    expect(await at.unfinished(NAME)).toEqual([]);
  },
);

test('in the place of the list of parts the upload keeps what it has, and goes on with it', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(3 * PART);
  await half(at, bytes);
  page(at, 'parts list');
  await expect(store(at, bytes)).rejects.toEqual(outage);
  at.proxy.faults = [];
  at.partsSent();
  await store(at, bytes);
  expect(at.partsSent()).toEqual([3]);
  expect((await stored(at)).equals(bytes)).toBe(true);
});

test('in the place of the answer to a completion no part is sent again', async () => {
  const at = await makeS3Place(server);
  const bytes = randomBytes(3 * PART);
  page(at, 'complete');
  await expect(store(at, bytes)).rejects.toEqual(outage);
  at.proxy.faults = [];
  at.partsSent();
  await store(at, bytes);
  expect(at.partsSent()).toEqual([]);
  expect((await stored(at)).equals(bytes)).toBe(true);
});

test.for(['abort', 'parts list', 'list of uploads'] as const)(
  'in the place of the answer to %s no upload counts as aborted: it is known until it is',
  async (of) => {
    const at = await makeS3Place(server);
    await half(at, randomBytes(3 * PART));
    const [id] = await at.unfinished(NAME);
    page(at, of);
    await expect(at.archive.delete(at.path(NAME))).rejects.toEqual(outage);
    if (of === 'abort') {
      expect(await at.unfinished(NAME)).toEqual([id]);
      expect(at.ledgers()).toHaveLength(1);
    }
    at.proxy.faults = [];
    expect(await at.archive.delete(at.path(NAME))).toBe(false);
    expect(await at.unfinished(NAME)).toEqual([]);
    expect(at.ledgers()).toEqual([]);
  },
);

test('in the place of the answer to a removal nothing counts as deleted', async () => {
  const at = await makeS3Place(server);
  await store(at, randomBytes(1000));
  page(at, 'removal');
  await expect(at.archive.delete(at.path(NAME))).rejects.toEqual(outage);
  expect(await stored(at)).toHaveLength(1000);
  expect(await at.archive.delete(at.path(NAME))).toBe(true);
});

test('answers whose first byte comes late and that trickle are waited for, as long as something comes', async () => {
  const at = await makeS3Place(server, { stall_seconds: 3 });
  const bytes = randomBytes(2 * PART + 1);
  at.proxy.faults = [{ when: () => true, how: { late_ms: 1_500, every_ms: 150 } }];
  await store(at, bytes);
  expect(at.partsSent()).toEqual([1, 2, 3]);
  expect(Buffer.concat(await gather(at.archive.read(at.path(NAME), {}))).equals(bytes)).toBe(true);
});

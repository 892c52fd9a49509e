import { EventEmitter } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Redis, ReplyError } from 'ioredis';
import pino from 'pino';
import { expect, inject, onTestFinished, test } from 'vitest';
import { coerceError } from '../../workers/errors.ts';
import { assertAnswers, connectRedis, redisOptions } from '../../workers/queue/connection.ts';
import { embeddedFolder, startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { checkRedis, watchFitness } from '../../workers/queue/fitness.ts';
import { whyRefused } from '../../workers/queue/refusals.ts';
import { doctor } from '../support/doctor.ts';
import { startGuardedRedis } from '../support/guarded-redis.ts';
import { makePlace } from '../support/place.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { until } from '../support/until.ts';

function collectingLog() {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  return { lines, log: pino({ level: 'info' }, stream) };
}

test('a Redis that does not answer in the given time is E_REDIS_UNAVAILABLE with the reason, without its password', async () => {
  const place = await makePlace({ queue: { url: 'redis://user:geheim@127.0.0.1:1/0' } });
  const { lines, log } = collectingLog();
  await expect(connectRedis(place.config, { log, wait_seconds: 0.5, stays: true })).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: 'no answer from Redis at redis://127.0.0.1:1/0: connect ECONNREFUSED 127.0.0.1:1',
    fields: { redis: 'redis://127.0.0.1:1/0', reason: 'connect ECONNREFUSED 127.0.0.1:1' },
  });
  expect(lines.filter((line) => line.includes('does not answer'))).toHaveLength(1);
  expect(lines.join('')).not.toContain('geheim');
});

test('a command tells what it waited for when it gives up, and logs nothing before', async () => {
  const place = await makePlace({ queue: { url: 'redis://no-such-host.invalid:6379' } });
  const { lines, log } = collectingLog();
  await expect(connectRedis(place.config, { log, wait_seconds: 0.5 })).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: expect.stringMatching(/no-such-host\.invalid:6379: .*(ENOTFOUND|EAI_AGAIN)/),
    hint: expect.stringContaining('does not know that name'),
  });
  expect(lines).toEqual([]);
});

test.each([
  ['no password', '', 'Redis wants a password: NOAUTH', 'Set QUEUE_USER and QUEUE_PASS'],
  ['a wrong one', ':geheim@', 'Redis refuses user and password: WRONGPASS', 'Correct QUEUE_USER'],
])('with %s a protected Redis is given up at once, and the error says why', async (_, who, message, hint) => {
  const place = await makePlace();
  const redis = await startGuardedRedis(place);
  const url = redis.url.replace('//', `//${who}`);
  const config = { ...place.config, queue: { ...place.config.queue, url } };
  const { lines, log } = collectingLog();
  const refused = await connectRedis(config, { log, wait_seconds: Infinity }).catch(
    (error: unknown) => error,
  );
  expect(refused).toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: expect.stringContaining(message),
    hint: expect.stringContaining(hint),
  });
  expect(inspect(refused, { depth: 9 }) + lines.join('')).not.toContain('geheim');
});

test('a replica is asked again for as long as its asker waits, and then it is said what it is', async () => {
  const place = await makePlace({ queue: { url: null } });
  const redis = await startEmbeddedRedis(join(place.config.state_dir, 'redis'));
  onTestFinished(() => redis.stop());
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  const client = await connectRedis(place.config, { log: collectingLog().log, wait_seconds: 1.5 });
  onTestFinished(() => client.disconnect());
  await admin.call('replicaof', '127.0.0.1', '1');
  const refused = await client.set('key', 'value').catch((error: unknown) => coerceError(error));
  expect(refused).toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: expect.stringContaining('Redis is a read-only replica'),
  });
  const waiting = connectRedis(place.config, { log: collectingLog().log, wait_seconds: 20 });
  const patient = await waiting;
  onTestFinished(() => patient.disconnect());
  const set = patient.set('key', 'value');
  await admin.call('replicaof', 'no', 'one');
  expect(await set).toBe('OK');
});

test('an embedded Redis that was never started is named with the folder where its address was expected', async () => {
  const place = await makePlace({ queue: { url: null } });
  const { lines, log } = collectingLog();
  await expect(connectRedis(place.config, { log, wait_seconds: 0.3, stays: true })).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: expect.stringContaining(join(place.config.state_dir, 'redis', 'url')),
  });
  expect(lines.join('')).toContain('waiting for the embedded Redis');
});

test('a Redis that appears while somebody waits for it is found', async () => {
  const place = await makePlace({ queue: { url: null } });
  const { log } = collectingLog();
  const connecting = connectRedis(place.config, { log, wait_seconds: 20 });
  const redis = await startEmbeddedRedis(place.path('redis'));
  onTestFinished(() => redis.stop());
  const client = await connecting;
  expect(await client.ping()).toBe('PONG');
  client.disconnect();
});

test('a Redis behind a unix socket is reached', async () => {
  const place = await makePlace();
  const socket = place.path('redis.sock');
  const server = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', ''], {
    stdio: 'ignore',
  });
  onTestFinished(async () => {
    server.kill();
    await until(() => server.exitCode !== null || server.signalCode !== null);
  });
  const config = { ...place.config, queue: { ...place.config.queue, url: `unix://${socket}` } };
  const client = await connectRedis(config, { log: collectingLog().log });
  expect(await client.ping()).toBe('PONG');
  client.disconnect();
});

test('addresses give host, port, database, user, password and TLS; configured credentials beat those of the address', async () => {
  const { config } = await makePlace();
  expect(redisOptions(config, 'rediss://u:p%40ss@[::1]:6380/3')).toMatchObject({
    host: '::1',
    port: 6380,
    db: 3,
    username: 'u',
    password: 'p@ss',
    tls: {},
    maxRetriesPerRequest: null,
  });
  expect(redisOptions(config, 'rediss+sentinel://u:p%40ss@[::1]:26380,host/prim/3')).toMatchObject({
    sentinels: [
      { host: '::1', port: 26380 },
      { host: 'host', port: 26379 },
    ],
    name: 'prim',
    db: 3,
    username: 'u',
    password: 'p@ss',
    enableTLSForSentinelMode: true,
  });
  const withUser = { ...config, queue: { ...config.queue, username: 'fleet', password: 'secret' } };
  expect(redisOptions(withUser, 'redis://u:p@host')).toMatchObject({
    username: 'fleet',
    password: 'secret',
    port: 6379,
  });
});

test('a Redis that may evict jobs is refused, and one that keeps nothing on disk is warned about', async () => {
  const place = await makePlace();
  const redis = await startEmbeddedRedis(place.path('redis'), { persist: false });
  onTestFinished(() => redis.stop());
  const client = new Redis(redis.url);
  onTestFinished(() => client.disconnect());
  const { lines, log } = collectingLog();
  await checkRedis(client, log);
  expect(lines.join('')).toContain('does not append to disk');
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
  await expect(checkRedis(client, log)).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: expect.stringContaining('allkeys-lru'),
    hint: expect.stringContaining('noeviction'),
  });
});

test('a Redis that becomes unfit is told of at once, also when another one is behind the address, and when it is fit', async () => {
  const place = await makePlace({ queue: { url: null } });
  const folder = join(place.config.state_dir, 'redis');
  const first = await startEmbeddedRedis(folder);
  const { lines, log } = collectingLog();
  const client = await connectRedis(place.config, { log, wait_seconds: 10 });
  onTestFinished(() => client.disconnect());
  const seen: (string | null)[] = [];
  const watching = watchFitness(client, log, (unfit) => void seen.push(unfit?.code ?? null));
  onTestFinished(() => watching.stop());
  await first.stop();
  // As a failover does: the same address, another configuration.
  const { port } = new URL(first.url);
  const other = spawn(
    'redis-server',
    ['--port', port, '--save', '', '--maxmemory-policy', 'volatile-lru', '--dir', place.path('redis')],
    { stdio: 'ignore' },
  );
  onTestFinished(async () => {
    other.kill();
    await until(() => other.exitCode !== null || other.signalCode !== null);
  });
  await until(() => seen.length === 1, { what: 'the other Redis to be looked at' });
  expect(lines.join('')).toContain('volatile-lru');
  await client.config('SET', 'maxmemory-policy', 'noeviction');
  await until(() => seen.length === 2, { what: 'the correction to be seen' });
  expect(seen).toEqual(['E_REDIS_UNAVAILABLE', null]);
});

test('what a Redis refuses only when a transaction is carried out is a refusal too', async () => {
  const refusal = new ReplyError("OOM command not allowed when used memory > 'maxmemory'.");
  const exec = async (): Promise<unknown> => [[refusal, null]];
  const redis = { multi: () => ({ set: () => ({ exec }) }) } as unknown as Redis;
  expect(await whyRefused(redis, 'prefix')).toMatchObject({ code: 'E_REDIS_UNAVAILABLE' });
});

test('the Redis behind a new connection is looked at with its first moment, and by nobody who has stopped', async () => {
  let policy = 'noeviction';
  const info = async (): Promise<string> => `maxmemory_policy:${policy}`;
  const redis = Object.assign(new EventEmitter(), { status: 'ready', info });
  const seen: (string | null)[] = [];
  const { log } = collectingLog();
  const watching = watchFitness(redis as unknown as Redis, log, (unfit) => seen.push(unfit?.code ?? null));
  for (policy of ['allkeys-lru', 'noeviction']) {
    redis.emit('ready');
    await setImmediate();
  }
  watching.stop();
  policy = 'allkeys-lru';
  redis.emit('ready');
  await setImmediate();
  expect(seen).toEqual(['E_REDIS_UNAVAILABLE', null]);
});

test('the Redis of this suite is fit for the queue', async () => {
  const client = new Redis(inject('redis'));
  onTestFinished(() => client.disconnect());
  await expect(checkRedis(client, collectingLog().log)).resolves.toBeUndefined();
});

test('a Redis whose disk is full is told as that by whoever would rather refuse than wait', async (context) => {
  const place = await makePlace({ queue: { url: null } });
  const folder = embeddedFolder(place.config);
  mkdirSync(folder, { recursive: true });
  if (smallFileSystem(folder, ['size=1m']) === null) return context.skip('NOT TESTED: mounting needs root');
  const server = await startEmbeddedRedis(folder);
  onTestFinished(() => server.stop());
  const client = await connectRedis(place.config, { log: collectingLog().log });
  onTestFinished(() => client.disconnect());
  let said: unknown = null;
  await until(async () => {
    said = await client.set('key', 'x'.repeat(100_000)).catch((error: unknown) => error);
    return said instanceof Error;
  });
  await expect(assertAnswers(client, 5)).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: expect.stringContaining('Redis cannot write to its disk'),
  });
  const { of } = await doctor(place, ['--only', 'redis']);
  expect(of('redis.persistence')?.level).toBe('problem');
  expect(of('redis.latency')).toBeDefined();
  expect(of('redis.answer')).toBeUndefined();
});

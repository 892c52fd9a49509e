import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { Writable } from 'node:stream';
import { Redis } from 'ioredis';
import pino from 'pino';
import { expect, inject, onTestFinished, test } from 'vitest';
import { checkRedis, connectRedis, redisOptions } from '../../workers/queue/connection.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makePlace } from '../support/place.ts';
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

test('a Redis that does not answer in the given time is E_REDIS_UNAVAILABLE, without its password', async () => {
  const place = await makePlace({ queue: { url: 'redis://user:geheim@127.0.0.1:1/0' } });
  const { lines, log } = collectingLog();
  await expect(connectRedis(place.config, { log, wait_seconds: 0.5 })).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
    message: 'no answer from Redis at redis://127.0.0.1:1/0',
  });
  expect(lines.filter((line) => line.includes('does not answer'))).toHaveLength(1);
  expect(lines.join('')).not.toContain('geheim');
});

test('an embedded Redis that was never started is named with the folder where its address was expected', async () => {
  const place = await makePlace({ queue: { url: null } });
  const { lines, log } = collectingLog();
  await expect(connectRedis(place.config, { log, wait_seconds: 0.3 })).rejects.toMatchObject({
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

test('the Redis of this suite is fit for the queue', async () => {
  const client = new Redis(inject('redis'));
  onTestFinished(() => client.disconnect());
  await expect(checkRedis(client, collectingLog().log)).resolves.toBeUndefined();
});

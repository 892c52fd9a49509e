import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { embeddedRedisUrl, startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makePlace } from '../support/place.ts';
import { processesWith, startScript } from '../support/processes.ts';
import { until } from '../support/until.ts';

const embedded = join(import.meta.dirname, '../../workers/queue/embedded.ts');

test('the embedded Redis appends to disk, never evicts, and comes back on its port with its data', async () => {
  const place = await makePlace();
  const folder = place.path('redis');
  expect(embeddedRedisUrl(folder)).toBeNull();
  const first = await startEmbeddedRedis(folder);
  const client = new Redis(first.url);
  expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
  await client.set('kept', 'yes');
  client.disconnect();
  await first.stop();

  const second = await startEmbeddedRedis(folder);
  expect(second.url).toBe(first.url);
  expect(embeddedRedisUrl(folder)).toBe(second.url);
  const again = new Redis(second.url);
  expect(await again.get('kept')).toBe('yes');
  again.disconnect();
  await second.stop();
});

test('nobody else of this host can use it, or find its password in a list of processes or in a folder', async () => {
  const place = await makePlace();
  const folder = place.path('redis');
  mkdirSync(folder, { mode: 0o755 }); // As an earlier release left it.
  const redis = await startEmbeddedRedis(folder);
  onTestFinished(() => redis.stop());
  const { password } = new URL(redis.url);
  expect(password).toMatch(/^[0-9a-f]{48}$/);
  const stranger = new Redis(redis.shown_url, { lazyConnect: true });
  stranger.on('error', () => undefined);
  onTestFinished(() => stranger.disconnect());
  await expect(stranger.call('FLUSHALL')).rejects.toThrow('NOAUTH');
  expect(readFileSync(`/proc/${redis.pid}/cmdline`, 'utf8')).not.toContain(password);
  expect(readFileSync(`/proc/${redis.pid}/environ`, 'utf8')).not.toContain(password);
  expect(redis.shown_url).not.toContain(password);
  expect(statSync(folder).mode & 0o007).toBe(0);
  expect(statSync(join(folder, 'url')).mode & 0o007).toBe(0);
});

test('a person reaches it by redis-cli, with the address that stands in its folder', async () => {
  const place = await makePlace();
  const folder = place.path('redis');
  const redis = await startEmbeddedRedis(folder);
  onTestFinished(() => redis.stop());
  const args = ['--no-auth-warning', '-u', readFileSync(join(folder, 'url'), 'utf8'), 'ping'];
  expect(execFileSync('redis-cli', args, { encoding: 'utf8' })).toBe('PONG\n');
});

test('where another has taken its port meanwhile, its password is a new one', async () => {
  const place = await makePlace();
  const folder = place.path('redis');
  const first = await startEmbeddedRedis(folder);
  await first.stop();
  const taker = createServer((socket) => socket.end());
  taker.listen(Number(new URL(first.url).port), '127.0.0.1');
  await once(taker, 'listening');
  onTestFinished(() => void taker.close());
  const second = await startEmbeddedRedis(folder);
  onTestFinished(() => second.stop());
  expect(second.shown_url).not.toBe(first.shown_url);
  expect(new URL(second.url).password).not.toBe(new URL(first.url).password);
});

test('whoever was connected finds the new server of a folder that was lost, with its port and password', async () => {
  const place = await makePlace({ queue: { url: null } });
  const folder = join(place.config.state_dir, 'redis');
  const first = await startEmbeddedRedis(folder);
  const log = createLogger('test', {}, { level: 'silent' });
  const client = await connectRedis(place.config, { log, wait_seconds: Infinity });
  const reading = client.duplicate(); // As BullMQ makes it of what it is given.
  reading.on('error', () => undefined);
  onTestFinished(() => {
    client.disconnect();
    reading.disconnect();
  });
  await reading.ping();
  await first.stop();
  rmSync(folder, { recursive: true });
  const second = await startEmbeddedRedis(folder);
  onTestFinished(() => second.stop());
  expect(second.url).not.toBe(first.url);
  await client.set('lost', 'no');
  expect(await reading.get('lost')).toBe('no');
});

test('user and password of a Redis elsewhere are not told to the embedded one', async () => {
  const place = await makePlace({ queue: { url: null, username: 'somebody', password: 'of another' } });
  const redis = await startEmbeddedRedis(join(place.config.state_dir, 'redis'));
  onTestFinished(() => redis.stop());
  const log = createLogger('test', {}, { level: 'silent' });
  const client = await connectRedis(place.config, { log, wait_seconds: 5 });
  onTestFinished(() => client.disconnect());
  expect(await client.ping()).toBe('PONG');
});

test('a server that its killed starter left behind is ended before the folder is served again', async () => {
  const place = await makePlace();
  const folder = place.path('redis');
  const starter = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const { startEmbeddedRedis } = await import(${JSON.stringify(embedded)});
       const { url, pid } = await startEmbeddedRedis(${JSON.stringify(folder)});
       console.log(JSON.stringify({ url, pid }));
       setInterval(() => undefined, 1000);`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [line] = (await once(starter.stdout, 'data')) as [Buffer];
  const { url, pid } = JSON.parse(line.toString()) as { url: string; pid: number };
  const client = new Redis(url);
  await client.set('kept', 'yes');
  client.disconnect();

  await expect(startEmbeddedRedis(folder)).rejects.toThrow(`started by process ${starter.pid}`);
  starter.kill('SIGKILL');
  await once(starter, 'exit');

  const second = await startEmbeddedRedis(folder);
  expect(second.pid).not.toBe(pid);
  const again = new Redis(second.url);
  expect(await again.get('kept')).toBe('yes');
  again.disconnect();
  await second.stop();
});

test.each([1, 2, 3])('a stop in the middle of its start leaves no server behind (%i)', async () => {
  const place = await makePlace();
  const home = place.dir('home');
  const servers = (): string[] => processesWith(home).filter((line) => line.startsWith('redis-server'));
  const starter = startScript('scripts/redis.ts', {
    APP_ENV: 'local',
    LONGSHORE_DOTENV: 'none',
    LONGSHORE_HOME: home,
  });
  const gone = once(starter, 'exit');
  await until(() => servers().length > 0, { what: 'its server' });
  starter.kill('SIGTERM');
  expect(await gone).toEqual([0, null]);
  expect(servers()).toEqual([]);
});

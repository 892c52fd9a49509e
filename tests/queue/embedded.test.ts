import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
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

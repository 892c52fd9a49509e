/** What a person at a terminal is told of a Redis in trouble. */
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { openStore } from '../../workers/store.ts';
import { makeFleet } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

test('commands that write are answered within seconds when Redis is a read-only replica, and told so', async () => {
  const fleet = await makeFleet({ queue: { url: null } });
  const redis = await startEmbeddedRedis(fleet.place.path('redis'));
  onTestFinished(() => redis.stop());
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  await fleet.worker();
  const run = (...args: string[]) => runScript('longshore.ts', args, fleet.place.env);
  // Its entries must be there, and the queue known.
  expect(await run('ping')).toMatchObject({ code: 0 });
  await admin.call('replicaof', '127.0.0.1', '1');
  const answers = await Promise.all([
    run('pause-queue'),
    run('drain', 'all'),
    run('start', 'integrated', String(await fleet.dataset()), '--json'),
  ]);
  for (const { code, stdout, stderr } of answers) {
    expect(code, stderr).toBe(5);
    expect(stdout + stderr).toContain('E_REDIS_UNAVAILABLE');
    expect(stdout + stderr).toContain('Redis is a read-only replica');
    expect(stderr).not.toContain('"level"');
  }
  await admin.call('replicaof', 'no', 'one');
  expect(await run('pause-queue')).toMatchObject({ code: 0 });
});

test.each(['fleet', 'status'])(
  'longshore %s tells of a Redis that is full, and does not ask for workers that only cannot say that they are there',
  async (command) => {
    const fleet = await makeFleet({ queue: { url: null } });
    const redis = await startEmbeddedRedis(fleet.place.path('redis'));
    onTestFinished(() => redis.stop());
    const admin = new Redis(redis.url);
    onTestFinished(() => admin.disconnect());
    const steerer = await makeSteerer(fleet);
    await fleet.worker();
    expect(await steerer.workers()).toHaveLength(1);
    await admin.config('SET', 'maxmemory', '1');
    await until(async () => (await steerer.workers()).length === 0, { what: 'its entry to run out' });
    const { stdout, stderr } = await runScript('longshore.ts', [command], fleet.place.env);
    expect(stdout + stderr).toContain('Redis is full. Give it more memory (maxmemory)');
    expect(stdout + stderr).not.toContain('No worker is there');
  },
);

test.each([
  [['fleet'], []],
  [['fleet'], ['--json']],
  [['status'], []],
])(
  'longshore %s %s prints one message with the reason when Redis is away, and no line of a log',
  async (command, more) => {
    const place = await makePlace();
    await (await openStore(place.config)).close();
    const env = { ...place.env, REDIS_URL: 'redis://user:geheim@127.0.0.1:1' };
    const { code, stdout, stderr } = await runScript('longshore.ts', [...command, ...more], env);
    expect(code).toBe(5);
    expect(stdout + stderr).toContain('no answer from Redis at redis://127.0.0.1:1: connect ECONNREFUSED');
    expect(stdout + stderr).not.toMatch(/"level"|geheim/);
    if (more.length > 0) expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'E_REDIS_UNAVAILABLE' } });
  },
);

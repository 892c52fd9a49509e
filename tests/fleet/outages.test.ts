import { writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import type { SeenWorker } from '../../workers/queue/registry.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makeFleet, startWorker } from '../support/fleet.ts';
import { startEvictingRedis } from '../support/evicting-redis.ts';
import { startGuardedRedis } from '../support/guarded-redis.ts';
import { makePlace } from '../support/place.ts';
import { runScript, startScript } from '../support/script.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

test('an outcome that the records cannot take yet is kept until they can: the task is not run again', async () => {
  const fleet = await makeFleet({ queue: { lock_seconds: 30, stalled_check_seconds: 5 } });
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go }, two: {} });
  const { pid } = await until(() => fleet.events('start')[0]);
  const blocker = new DatabaseSync(fleet.place.config.catalog.path);
  onTestFinished(() => blocker.close());
  blocker.exec('begin immediate');
  writeFileSync(go, '');
  await until(() => membersOf(pid).length === 0, { what: 'the task to end' });
  expect((await fleet.engine.show(id)).steps[0]?.status).toBe('STARTED');
  blocker.exec('rollback');
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.last_task_run).toMatchObject({ retries: 0, losses: 0 });
  expect(fleet.events('start').map((entry) => entry.step)).toEqual(['one', 'two']);
});

test('a worker whose Redis becomes one that may evict jobs takes none until that is corrected, and it is shown', async () => {
  const fleet = await makeFleet({ queue: { url: null } });
  const redis = await startEmbeddedRedis(fleet.place.path('redis'));
  onTestFinished(() => redis.stop());
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  const worker = await fleet.worker();
  const watcher = startScript('watch.ts', [], fleet.place.env);
  await until(() => watcher.stdout().includes('"watching"'), { what: 'the watcher' });
  await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
  // As a failover does, whose new server has the wrong policy.
  await admin.call('client', 'kill', 'type', 'normal', 'skipme', 'yes');
  await until(() => worker.log().includes('Redis may drop jobs'), { what: 'the worker to see it' });
  await until(() => watcher.stdout().includes('Redis may drop jobs'), { what: 'the watcher to see it' });
  const id = await fleet.start({ one: {} });
  const steerer = await makeSteerer(fleet);
  await until(async () => (await steerer.workers())[0]?.suspended, { what: 'it to be told' });
  const shown = await runScript('longshore.ts', ['fleet'], fleet.place.env);
  expect(shown.stdout).toMatch(/suspended .*\n[^]*Workers that take no jobs: \S+\. Redis may drop jobs/);
  const status = await runScript('longshore.ts', ['status'], fleet.place.env);
  expect(status.stdout).toContain('Redis may drop jobs: its maxmemory-policy is "allkeys-lru"');
  // An order in between does not undo it.
  const name = await steerer.only();
  await steerer.tell(name, 'drain');
  await steerer.tell(name, 'undrain');
  const beat = async (since: number): Promise<SeenWorker> =>
    until(
      async () =>
        (await steerer.workers()).find(({ seen_seconds }) => Date.now() - seen_seconds * 1000 > since),
      { what: 'a sign of life' },
    );
  // Who takes jobs asks at once and has its answer by the next sign; the one after it says so.
  const undrained = Date.now();
  await beat(undrained);
  const { state, suspended, queues } = await beat(Date.now());
  expect({ state, suspended }).toEqual({ state: 'working', suspended: expect.stringContaining('may drop') });
  for (const { asked_at, busy } of queues) {
    expect(new Date(asked_at).getTime()).toBeLessThan(undrained);
    expect(busy).toBe(0);
  }
  expect(fleet.events('start')).toEqual([]);
  await admin.config('SET', 'maxmemory-policy', 'noeviction');
  await fleet.reaches(id, 'SUCCESS');
  await until(async () => !(await steerer.workers())[0]?.suspended, { what: 'it to be told as over' });
});

test('a worker refuses to start on a Redis that may evict jobs, and says what to set', async () => {
  const place = await makePlace({ queue: { url: null } });
  await startEvictingRedis(place);
  const worker = startWorker(place, 0, {});
  expect(await worker.exited).toEqual({ code: 78, signal: null });
  expect(worker.log()).toContain('E_REDIS_UNAVAILABLE');
  expect(worker.log()).toContain('Set `maxmemory-policy noeviction`');
});

test.each([
  ['wants a password', '', 'Set QUEUE_USER and QUEUE_PASS'],
  ['refuses the password', ':geheim@', 'Correct QUEUE_USER and QUEUE_PASS'],
  ['forbids the user its keys', 'reader:geheim@', 'Allow it all commands on keys'],
])(
  'a worker whose Redis %s ends with a line that says so, and is not started again',
  async (_, who, hint) => {
    const place = await makePlace();
    const { url, admin } = await startGuardedRedis(place);
    await admin.call('acl', 'setuser', 'reader', 'on', '>geheim', '+@all', '~other:*', '&*');
    const worker = startWorker(place, 0, { REDIS_URL: url.replace('//', `//${who}`) });
    expect(await worker.exited).toEqual({ code: 78, signal: null });
    expect(worker.log()).toContain('"level":60');
    expect(worker.log()).toContain(hint);
    expect(worker.log()).not.toContain('geheim');
  },
);

import { writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf } from '../../workers/fleet/process-group.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makeFleet, startWorker } from '../support/fleet.ts';
import { startEvictingRedis } from '../support/evicting-redis.ts';
import { makePlace } from '../support/place.ts';
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
    const redis = await startEmbeddedRedis(place.path('redis'));
    onTestFinished(() => redis.stop());
    const admin = new Redis(redis.url);
    onTestFinished(() => admin.disconnect());
    await admin.config('SET', 'requirepass', 'other');
    await admin.call('acl', 'setuser', 'reader', 'on', '>geheim', '+@all', '~other:*', '&*');
    const worker = startWorker(place, 0, { REDIS_URL: redis.url.replace('//', `//${who}`) });
    expect(await worker.exited).toEqual({ code: 78, signal: null });
    expect(worker.log()).toContain('"level":60');
    expect(worker.log()).toContain(hint);
    expect(worker.log()).not.toContain('geheim');
  },
);

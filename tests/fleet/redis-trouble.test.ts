/** A Redis that answers, and does not do what it is asked to. */
import { writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import type { LongshoreError } from '../../workers/errors.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

const own = {
  queue: { url: null, lock_seconds: 1, stalled_check_seconds: 0.5 },
  workflow: { reconcile_seconds: 1 },
};

async function fleetWithRedis(): Promise<{ fleet: Fleet; admin: Redis }> {
  const fleet = await makeFleet(own);
  const redis = await startEmbeddedRedis(fleet.place.path('redis'));
  onTestFinished(() => redis.stop());
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  return { fleet, admin };
}

const longerThanEveryLock = async (): Promise<void> => {
  const began = Date.now();
  await until(() => Date.now() > began + 3000, { what: 'three lock times' });
};

test.each([
  ['is full', ['config', 'set', 'maxmemory', '1'], ['config', 'set', 'maxmemory', '0']],
  ['became a replica in a failover', ['replicaof', '127.0.0.1', '1'], ['replicaof', 'no', 'one']],
] as const)(
  'a Redis that %s: what runs goes on and ends once, what is started meanwhile follows by itself',
  async (_, [ill, ...how], [well, ...back]) => {
    const { fleet, admin } = await fleetWithRedis();
    await fleet.worker();
    const go = fleet.place.path('go');
    const running = await fleet.start({ one: { until_file: go, publish: fleet.place.path('one') }, two: {} });
    await until(() => fleet.events('start')[0], { what: 'the first step to run' });
    await admin.call(ill, ...how);
    await longerThanEveryLock();
    // Waits until it can be queued, or says that it is recorded and will be.
    const started = fleet.start({ other: {} }).catch((error: unknown) => {
      expect(error).toMatchObject({
        code: 'E_REDIS_UNAVAILABLE',
        message: expect.stringContaining('is recorded, and not queued yet'),
        hint: expect.stringContaining('Redis is full'),
      });
      return String((error as LongshoreError).fields.workflow_id);
    });
    writeFileSync(go, '');
    await longerThanEveryLock();
    await admin.call(well, ...back);
    await fleet.reaches(running, 'SUCCESS');
    await fleet.reaches(await started, 'SUCCESS');
    const steps = fleet.events('start').map(({ step }) => step);
    expect(steps.toSorted()).toEqual(['one', 'other', 'two']);
    await fleet.reaches(await fleet.start({ last: {} }), 'SUCCESS');
  },
);

const troubles = [
  ['is full', ['config', 'set', 'maxmemory', '1'], ['config', 'set', 'maxmemory', '0'], 'Redis is full'],
  [
    'is a read-only replica',
    ['replicaof', '127.0.0.1', '1'],
    ['replicaof', 'no', 'one'],
    'Redis is a read-only replica',
  ],
  [
    'misses its replicas',
    ['config', 'set', 'min-replicas-to-write', '1'],
    ['config', 'set', 'min-replicas-to-write', '0'],
    'Redis misses replicas',
  ],
] as const;

const saidOf = (log: string, text: string): number =>
  log.split('\n').filter((line) => line.includes(text)).length;

test.each(troubles)(
  'a worker that is started while Redis %s waits, says so once, and works when it is well again',
  async (_, [ill, ...how], [well, ...back], reason) => {
    const { fleet, admin } = await fleetWithRedis();
    await admin.call(ill, ...how);
    const starting = fleet.worker();
    const log = () => fleet.workerLog(0);
    await until(() => log().includes(`"reason":"${reason}`), { what: 'the worker to say so' });
    await longerThanEveryLock();
    expect(log()).not.toContain('worker ready');
    await admin.call(well, ...back);
    await starting;
    await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
    // Who was refused asks for itself: its step can be done before the log's own question is answered.
    await until(() => saidOf(log(), 'does what it is told to again') > 0, { what: 'the end in the log' });
    expect(saidOf(log(), 'does not do what it is told to')).toBe(1);
    expect(saidOf(log(), 'does what it is told to again')).toBe(1);
    expect(log()).not.toContain('"level":50');
  },
);

test('while Redis is full workers are steered all the same, and their logs tell it once, without a stack', async () => {
  const { fleet, admin } = await fleetWithRedis();
  const steerer = await makeSteerer(fleet);
  const worker = await fleet.worker();
  const name = await steerer.only();
  await admin.config('SET', 'maxmemory', '1');
  const { replies } = await steerer.side.control.ask('grow', { by: 2 }, { to: [name], wait_seconds: 5 });
  expect(replies).toMatchObject([{ outcome: 'done', result: { before: 2, slots: 4 } }]);
  await longerThanEveryLock();
  await longerThanEveryLock();
  await admin.config('SET', 'maxmemory', '0');
  await until(() => worker.log().includes('does what it is told to again'), { what: 'the end to be told' });
  expect(saidOf(worker.log(), 'does not do what it is told to')).toBe(1);
  expect(worker.log()).not.toMatch(/EXECABORT|"stack"/);
  await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
});

test('a Redis that hangs with its connections open: nothing runs twice, and work goes on when it wakes', async () => {
  const { fleet, admin } = await fleetWithRedis();
  await fleet.worker();
  const go = fleet.place.path('go');
  const running = await fleet.start({ one: { until_file: go }, two: {} });
  await until(() => fleet.events('start')[0], { what: 'the first step to run' });
  const pid = Number(/process_id:(\d+)/.exec(await admin.info('server'))?.[1]);
  process.kill(pid, 'SIGSTOP');
  onTestFinished(() => {
    try {
      process.kill(pid, 'SIGCONT'); // Else it could not be stopped.
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  });
  await longerThanEveryLock();
  process.kill(pid, 'SIGCONT');
  writeFileSync(go, '');
  await fleet.reaches(running, 'SUCCESS');
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['one', 'two']);
});

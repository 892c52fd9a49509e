import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import pino from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import type { Slots } from '../../workers/fleet/slots.ts';
import { startWatchdog, watch, type WatchState } from '../../workers/fleet/health/watchdog.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makeFleet } from '../support/fleet.ts';
import { startHalfOpenProxy } from '../support/half-open-proxy.ts';
import { makePlace } from '../support/place.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

/** Looks once a second, as the watchdog does. */
function silentAfter(seconds: number, facts: (at: number) => { asking: boolean; asked_at: number }): number {
  let state: WatchState = { since: 0, looked_at: 0 };
  let silent = 0;
  for (let at = 1; at <= seconds; at += 1) {
    const look = watch(state, facts(at * 1000), at * 1000);
    state = look.state;
    silent = look.silent_ms;
  }
  return silent;
}

test('a worker owes a sign of life while it has a free slot, from the moment it had one', () => {
  expect(silentAfter(30, () => ({ asking: true, asked_at: 0 }))).toBe(30_000);
  expect(silentAfter(30, (at) => ({ asking: true, asked_at: at - 500 }))).toBe(500);
  expect(silentAfter(30, () => ({ asking: false, asked_at: 0 }))).toBe(0);
  expect(silentAfter(30, (at) => ({ asking: at > 20_000, asked_at: 0 }))).toBe(10_000);
});

test('a process that stood still as a whole is not taken for one whose loop is stuck', () => {
  const slept = watch({ since: 1_000, looked_at: 1_000 }, { asking: true, asked_at: 1_000 }, 3_600_000);
  expect(slept.silent_ms).toBe(0);
});

test('a connection that is half-open is opened anew: its task goes on, and the next job is taken', async () => {
  const place = await makePlace();
  const proxy = await startHalfOpenProxy(place.config.queue.url ?? '');
  // The lock outlasts the silence, so the task that runs meanwhile stays this worker's.
  const fleet = await makeFleet({ queue: { silence_seconds: 12, lock_seconds: 60 } });
  const steerer = await makeSteerer(fleet);
  const worker = await fleet.worker({ REDIS_URL: proxy.url });
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go }, two: {} });
  await until(() => fleet.events('start')[0]);
  proxy.silence(() => true);
  expect(proxy.silenced()).toBeGreaterThanOrEqual(3);
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map((entry) => entry.step)).toEqual(['one', 'two']);
  expect(worker.log()).toContain('Socket timeout');
  // Once, by the connection, and not by each that uses it.
  expect(worker.log()).not.toContain('the queue reported an error');
  expect(worker.log()).not.toContain('restarts itself');
  // The channel for orders was cut off as well.
  const name = await steerer.only();
  const reached = () => steerer.side.control.ask('ping', {}, { to: [name], wait_seconds: 1 });
  await until(async () => (await reached()).silent.length === 0, { what: 'orders to arrive again' });
});

test('a worker that stopped asking although Redis answers leaves with its reason, and with a code that pm2 restarts', async () => {
  const place = await makePlace();
  const proxy = await startHalfOpenProxy(place.config.queue.url ?? '');
  const fleet = await makeFleet({ queue: { silence_seconds: 600 }, fleet: { watchdog_seconds: 5 } });
  const worker = await fleet.worker({ REDIS_URL: proxy.url });
  await fleet.reaches(await fleet.start({ before: {} }), 'SUCCESS');
  proxy.silence((opening) => !opening.includes('longshore-watchdog'), { new_ones: true });
  const id = await fleet.start({ after: {} });
  expect(await worker.exited).toEqual({ code: 75, signal: null });
  expect(worker.log()).toMatch(/watchdog: queue longshore-test\.q was not asked for \d+ s although 2 of 2/);
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
});

test('while Redis answers nobody, the watchdog says so and leaves the worker alone', async () => {
  const fleet = await makeFleet({
    queue: { url: null, silence_seconds: 600 },
    fleet: { watchdog_seconds: 5 },
  });
  const redis = await startEmbeddedRedis(fleet.place.path('redis'));
  onTestFinished(() => redis.stop());
  const worker = await fleet.worker();
  onTestFinished(() => void process.kill(redis.pid, 'SIGCONT'));
  process.kill(redis.pid, 'SIGSTOP');
  await until(() => worker.log().includes('Redis does not answer; a restart would not help'), {
    what: 'the watchdog to look',
  });
  process.kill(redis.pid, 'SIGCONT');
  await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
  expect(worker.log()).not.toContain('restarts itself');
});

test.each([
  ['is full', ['config', 'set', 'maxmemory', '1'], ['config', 'set', 'maxmemory', '0']],
  ['is a read-only replica', ['replicaof', '127.0.0.1', '1'], ['replicaof', 'no', 'one']],
] as const)(
  'while Redis %s for longer than the watchdog allows, the worker is left alone, and works when it is well',
  async (_, [ill, ...how], [well, ...back]) => {
    const fleet = await makeFleet({ queue: { url: null }, fleet: { watchdog_seconds: 5 } });
    const redis = await startEmbeddedRedis(fleet.place.path('redis'));
    onTestFinished(() => redis.stop());
    const admin = new Redis(redis.url);
    onTestFinished(() => admin.disconnect());
    const worker = await fleet.worker();
    await admin.call(ill, ...how);
    const begun = Date.now();
    await until(() => Date.now() > begun + 15_000, { what: 'three times what the watchdog allows' });
    await admin.call(well, ...back);
    await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
    expect(worker.log()).not.toContain('restarts itself');
  },
);

test('the watchdog asks with a write: a Redis that only refuses those is told once', async () => {
  const place = await makePlace({ queue: { url: null } });
  const config = { ...place.config, fleet: { ...place.config.fleet, watchdog_seconds: 1 } };
  const redis = await startEmbeddedRedis(join(config.state_dir, 'redis'));
  onTestFinished(() => redis.stop());
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  await admin.config('SET', 'maxmemory', '1');
  const lines: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line) => void lines.push(line) });
  const idle = { queue: 'a.q', held: false, busy: 0, count: 1, asked_at: performance.now() } as Slots;
  const stuck: string[] = [];
  // As if no other part of the worker had met the refusal.
  const parts = { config, slots: [idle], refusals: { refusing: false }, log };
  const watchdog = startWatchdog(parts, (reason) => void stuck.push(reason));
  onTestFinished(() => watchdog.stop());
  await until(() => lines.length > 0, { what: 'the watchdog to look' });
  const told = Date.now();
  await until(() => Date.now() > told + 4_000, { what: 'more looks' });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('Redis is full');
  expect(stuck).toEqual([]);
  await admin.config('SET', 'maxmemory', '0');
  await until(() => stuck.length > 0, { what: 'the worker to be found stuck' });
});

test.each([
  ['was asked', (one: Partial<Mutable<Slots>>) => (one.asked_at = performance.now())],
  ['is drained', (one: Partial<Mutable<Slots>>) => (one.held = true)],
  ['is in use', (one: Partial<Mutable<Slots>>) => (one.busy = 1)],
])('a queue that %s while Redis is asked is not taken for stuck', async (_, happens) => {
  const { config: given } = await makePlace();
  const log = pino({ level: 'silent' });
  const idle = { queue: 'a.q', held: false, busy: 0, count: 1, asked_at: performance.now() };
  let asked = false;
  const config = {
    ...given,
    fleet: { ...given.fleet, watchdog_seconds: 1 },
    /** Nobody else reads it: the watchdog is about to ask Redis. */
    get queue() {
      if (!asked) happens(idle);
      asked = true;
      return given.queue;
    },
  };
  const silent: number[] = [];
  const parts = { config, slots: [idle as Slots], refusals: { refusing: false }, log };
  const watchdog = startWatchdog(parts, () => void silent.push(performance.now() - idle.asked_at));
  onTestFinished(() => watchdog.stop());
  await until(() => asked, { what: 'Redis to be asked' });
  const begun = performance.now();
  const takes_jobs = !idle.held && idle.busy < idle.count;
  await until(() => (takes_jobs ? silent.length > 0 : performance.now() > begun + 3_000), {
    what: 'more looks',
  });
  // From when it was asked, it owed no sign of life for a second.
  expect(silent.length).toBe(takes_jobs ? 1 : 0);
  for (const ms of silent) expect(ms).toBeGreaterThanOrEqual(1_000);
});

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

test('busy and drained workers, and workers whose queue is empty, are left alone', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 }, fleet: { watchdog_seconds: 5 } });
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({
    one: { until_file: go },
    two: { postpone_ms: 9_000, postpone_until_file: go },
  });
  const begun = Date.now();
  await until(() => Date.now() > begun + 8_000, { what: 'more than the watchdog allows' });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  await until(() => Date.now() > begun + 16_000, { what: 'the same without a job' });
  expect(worker.log()).not.toContain('restarts itself');
});

import { spawn } from 'node:child_process';
import { expect, onTestFinished, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import { startOf } from '../../workers/process-start.ts';
import { waitingIn, watchHost } from '../../workers/fleet/scaling/host-watch.ts';
import type { Keeper, KeptProcess } from '../../workers/fleet/scaling/pm2.ts';
import { NO_PRESSURE } from '../../workers/fleet/scaling/pressure.ts';
import { forgetDrained, newestBeyond, scaleProcesses } from '../../workers/fleet/scaling/process-scaling.ts';
import {
  ageOf,
  decideProcesses,
  NO_PROCESS_MEMORY,
  type ProcessFacts,
  stillWaiting,
} from '../../workers/fleet/scaling/processes.ts';
import { createLogger } from '../../workers/log.ts';
import type { WorkerEntry } from '../../workers/queue/registry.ts';
import { openQueueSide, type QueueSide } from '../../workers/queue/side.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

/** Looks every 5 s, each with the processes that the last one left. */
async function looks(
  each: (second: number, processes: number) => Partial<ProcessFacts>,
  seconds: number,
  processes = 1,
) {
  const { config } = await makePlace({
    instances: { min: 1, max: 4, age_seconds: 60, idle_seconds: 600 },
    autoscale: { max: 8, hold: { cpu_percent: 90 } },
  });
  let memory = NO_PROCESS_MEMORY;
  const changes: string[] = [];
  for (let second = 0; second < seconds; second += 5) {
    const facts = {
      now: second * 1000,
      processes,
      busy: 0,
      slots: 8,
      age_seconds: null,
      pressure: NO_PRESSURE,
    };
    const decision = decideProcesses(memory, { ...facts, ...each(second, processes) }, config);
    ({ memory } = decision);
    if (decision.change === null) continue;
    processes += decision.change.by;
    changes.push(`${second}: ${processes}`);
  }
  return changes;
}

test('a job that has waited too long brings one process more, the next one only when that did not help', async () => {
  expect(await looks((second) => ({ busy: 8, age_seconds: second }), 130)).toEqual(['60: 2', '120: 3']);
  expect(await looks((second) => ({ busy: 8, age_seconds: second }), 2000)).toHaveLength(3);
  expect(await looks((second) => ({ busy: 8, age_seconds: second % 55 }), 2000)).toEqual([]);
});

test('a host under pressure gets no process more', async () => {
  const pressure = { ...NO_PRESSURE, cpu: 97 };
  expect(await looks((second) => ({ busy: 8, age_seconds: second, pressure }), 1000)).toEqual([]);
});

test('a process that is not needed for long goes, one at a time, down to the minimum', async () => {
  expect(await looks(() => ({ busy: 3 }), 2000, 3)).toEqual(['600: 2', '1205: 1']);
  expect(await looks((_, processes) => ({ busy: processes * 8 - 2 }), 3000, 3)).toEqual([]);
  expect(await looks((second) => ({ age_seconds: second % 300 === 0 ? 1 : null }), 3000, 3)).toEqual([]);
});

test('a burst and its end: up, and down again, never back and forth', async () => {
  const changes = await looks(
    (second) => (second < 100 ? { busy: 8, age_seconds: second } : { busy: Math.max(0, 8 - second / 100) }),
    4000,
  );
  expect(changes).toEqual(['60: 2', '700: 1']);
});

test('how long a job waits is counted from when it was first seen to, and ends when it is taken', () => {
  const first = stillWaiting(new Map(), ['a', 'b'], 1_000);
  const second = stillWaiting(first, ['b', 'c'], 6_000);
  expect(ageOf(second, 11_000)).toBe(10);
  expect(ageOf(stillWaiting(second, ['c'], 11_000), 11_000)).toBe(5);
  expect(ageOf(stillWaiting(second, [], 11_000), 11_000)).toBeNull();
});

test('the newest processes go first', () => {
  const working = [4, 0, 7].map((pm_id) => ({
    name: 'worker',
    pm_id,
    pid: pm_id,
    status: 'online',
    started_at: 0,
  }));
  expect(newestBeyond(working, 1).map(({ pm_id }) => pm_id)).toEqual([7, 4]);
  expect(newestBeyond(working, 5)).toEqual([]);
});

test('what waits in a paused queue asks for no process more', async () => {
  const { config } = await makePlace();
  const side = await openQueueSide(config, { log: createLogger('test'), wait_seconds: 5, name: 'test' });
  const names = ['first.q', 'second.q'];
  onTestFinished(async () => {
    for (const name of names) await side.queues.get(name).obliterate({ force: true });
    await side.close();
  });
  for (const name of names) {
    const opts = { jobId: `job-of-${name}`, priority: 1 };
    await side.queues.get(name).add('noop', { workflow_id: 'w', index: 0 }, opts);
  }
  const served = names.map((queue) => ({ queue, min: 1, max: 2 }));
  expect(await waitingIn(side, served)).toEqual(['first.q job-of-first.q', 'second.q job-of-second.q']);
  await side.queues.get('first.q').pause();
  expect(await waitingIn(side, served)).toEqual(['second.q job-of-second.q']);
});

/** As the worker `w1` of the host `h`, which has nothing to do; pm2 keeps none. */
function watchIdle(config: Config, side: QueueSide, working: () => boolean): void {
  const keeper = { list: async () => [], add: async () => undefined, forget: async () => undefined };
  const log = createLogger('test', {}, { level: 'fatal' });
  const watching = watchHost({
    config,
    side,
    queues: [],
    name: 'w1',
    host: 'h',
    log,
    keeper,
    busy: () => 0,
    working,
  });
  onTestFinished(() => watching.stop());
}

test('of the workers of a host one decides, for as long as it comes back', async () => {
  const { config } = await makePlace();
  const log = createLogger('test', {}, { level: 'fatal' });
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const base = `${config.queue.prefix}:${config.app_id}`;
  // Whoever decides strikes off what has drained.
  await side.redis.sadd(`${base}:draining:h`, '1 7 0');
  await side.redis.set(`${base}:host:h:turn`, 'w2', 'PX', 60_000);
  let looks = 0;
  watchIdle(config, side, () => {
    looks += 1;
    return true;
  });
  await until(() => looks === 2, { what: 'a look, and the next one' });
  expect(await side.redis.scard(`${base}:draining:h`)).toBe(1);
  await side.redis.set(`${base}:host:h:turn`, 'w1', 'PX', 8_000);
  await until(async () => (await side.redis.scard(`${base}:draining:h`)) === 0, { what: 'its turn' });
  expect(await side.redis.pttl(`${base}:host:h:turn`)).toBeGreaterThan(8_000);
});

test('a worker that died without a word is no worker of its host any more, and is forgotten', async () => {
  const { config } = await makePlace({ instances: { min: 1, max: 3 } });
  const log = createLogger('test', {}, { level: 'fatal' });
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const key = `${config.queue.prefix}:${config.app_id}:host:h`;
  await side.redis.hset(key, 'dead', JSON.stringify({ at: Date.now() - 60_000, busy: 8 }));
  await side.redis.hset(key, 'w2', JSON.stringify({ at: Date.now() + 60_000, busy: 0 }));
  watchIdle(config, side, () => true);
  await until(async () => (await side.redis.hkeys(key)).toSorted().join(' ') === 'w1 w2', {
    what: 'the dead one to be forgotten',
  });
});

test.each([
  ['stopped', 0, [7]],
  // Somebody started it again: it may have jobs.
  ['online', 4711, []],
])(
  'what has drained and is %s now leaves the list of pm2, unless it runs again',
  async (status, pid, left) => {
    const { config } = await makePlace();
    const log = createLogger('test', {}, { level: 'fatal' });
    const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
    onTestFinished(() => side.close());
    const draining = `${config.queue.prefix}:${config.app_id}:draining:h`;
    await side.redis.sadd(draining, '999999999 7 12345');
    const kept = { name: 'worker', pm_id: 7, pid, status, started_at: 0 };
    const forgotten: number[] = [];
    const keeper = {
      list: async () => [kept],
      add: async () => undefined,
      forget: async (pm_id: number) => void forgotten.push(pm_id),
    };
    await forgetDrained({ config, redis: side.redis, host: 'h', log, keeper });
    expect(forgotten).toEqual(left);
    expect(await side.redis.smembers(draining)).toEqual([]);
  },
);

test('a worker that has the number of one that drained and ended is no worker that leaves', async () => {
  const { config } = await makePlace();
  const log = createLogger('test', {}, { level: 'fatal' });
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const draining = `${config.queue.prefix}:${config.app_id}:draining:h`;
  await side.redis.sadd(draining, `${process.pid} 7 12345`);
  const kept = { name: 'worker', pm_id: 9, pid: process.pid, status: 'online', started_at: 0 };
  const keeper = { list: async () => [kept], add: async () => undefined, forget: async () => undefined };
  const parts = { config, redis: side.redis, host: 'h', log, keeper };
  expect(await scaleProcesses(parts, (working) => working, 'looked at')).toMatchObject({ from: 1, to: 1 });
  expect(await side.redis.smembers(draining)).toEqual([]);
});

test('whoever may have jobs is told to end them; only who has not begun to work is taken out; who leaves already is not counted', async () => {
  const { config } = await makePlace();
  const log = createLogger('test', {}, { level: 'fatal' });
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const [works, starts, leaves, ended] = [1, 2, 3, 4].map((pm_id) => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    onTestFinished(() => void child.kill('SIGKILL'));
    return { name: 'worker', pm_id, pid: child.pid ?? 0, status: 'online', started_at: Date.now() };
  }) as [KeptProcess, KeptProcess, KeptProcess, KeptProcess];
  const entry = { name: 'w1', host: 'h', pid: works.pid, started_at: new Date().toISOString() };
  await side.registry.write(entry as WorkerEntry);
  const draining = `${config.queue.prefix}:${config.app_id}:draining:h`;
  // The last one has ended, and pm2 has not noticed: its number must stay known until it has.
  await side.redis.sadd(
    draining,
    `${leaves.pid} ${leaves.pm_id} ${startOf(leaves.pid)}`,
    `${ended.pid} ${ended.pm_id} 1`,
  );
  const forgotten: number[] = [];
  const keeper: Keeper = {
    list: async () => [works, starts, leaves, { ...ended, status: 'stopping' }],
    add: async () => undefined,
    forget: async (pm_id) => void forgotten.push(pm_id),
  };
  const parts = { config, redis: side.redis, host: 'h', log, keeper };
  expect(await scaleProcesses(parts, () => 0, 'by hand')).toEqual({
    from: 2,
    to: 0,
    draining: [works.pid],
    removed: [starts.pid],
  });
  expect(forgotten).toEqual([starts.pm_id]);
  const told = (await side.redis.smembers(draining)).map((text) => Number(text.split(' ')[0]));
  expect(new Set(told)).toEqual(new Set([works.pid, leaves.pid, ended.pid]));
});

import { expect, onTestFinished, test } from 'vitest';
import type { AboutRunning } from '../../workers/fleet/job/attempt.ts';
import { NO_PRESSURE } from '../../workers/fleet/scaling/pressure.ts';
import type { Processor } from '../../workers/fleet/job/processor.ts';
import { openSlots } from '../../workers/fleet/slots.ts';
import { createLogger } from '../../workers/log.ts';
import { rememberScale, scaleHistory } from '../../workers/queue/scale-history.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';
import { until } from '../support/until.ts';

const autoscale = {
  min: 2,
  max: 8,
  idle_seconds: 1,
  calm_seconds: 0.5,
  hold: { memory_used_percent: 85 },
  shrink: { memory_used_percent: 93 },
  hand_back: { memory_used_percent: 98 },
};

/** Real queue, real slots; the work is a gate that the test opens, the pressure what the test says. */
async function makeSlots() {
  const { config } = await makePlace({ autoscale });
  const log = createLogger('test');
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  const queue = side.queues.get('slots.q');
  const open = new Set<() => void>();
  let most = 0;
  const world = {
    pressure: NO_PRESSURE,
    gate: true,
    looks: 0,
    handed_back: [] as string[],
    /** What a hand-over waits for. */
    handing: Promise.resolve(),
    refused: false,
    onLook: () => undefined as unknown,
  };
  const processor: Processor = {
    running: new Map(),
    inHand: new Set(),
    process: async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      open.add(resolve);
      most = Math.max(most, open.size);
      if (!world.gate) resolve();
      await promise;
      open.delete(resolve);
    },
    refuse: (on) => {
      world.refused = on;
    },
    ended: async () => undefined,
    cancel: async () => false,
    handBack: async (_queue, reason) => {
      world.handed_back.push(reason);
      await world.handing;
      [...open].at(-1)?.();
      return { step: 'copy', dataset_id: 7 } as AboutRunning;
    },
    lockLost: async () => undefined,
    stopAll: async () => undefined,
  };
  const slots = openSlots({
    config,
    side,
    processor,
    log,
    name: 'w1',
    queue: 'slots.q',
    pressure: () => {
      world.looks += 1;
      world.onLook();
      return world.pressure;
    },
  });
  slots.begin();
  const release = (count: number): void => {
    for (const resolve of [...open].slice(0, count)) resolve();
  };
  onTestFinished(async () => {
    world.gate = false;
    await slots.stopTaking();
    release(open.size);
    await slots.close();
    await queue.obliterate({ force: true });
    await side.close();
  });
  const add = (count: number) =>
    queue.addBulk(
      Array.from({ length: count }, (_, index) => ({
        name: 'gate',
        data: { workflow_id: 'w', index },
        // As every job of a step has one.
        opts: { removeOnComplete: true, priority: 1 },
      })),
    );
  const history = () => scaleHistory(side.redis, config, 50);
  const looks = async (count: number): Promise<void> => {
    const seen = world.looks;
    await until(() => world.looks >= seen + count, { what: `${count} more looks` });
  };
  const active = async () => (await queue.getJobCounts('active')).active;
  return { slots, add, open, world, release, history, looks, active, most: () => most };
}

test('a step load from 0 to 1,000 jobs reaches the maximum in under 2 s, and the minimum after it', async () => {
  const { slots, add, open, world, release, history, most } = await makeSlots();
  await add(1000);
  const began = Date.now();
  await until(() => open.size === 8, { what: 'eight at a time' });
  expect(Date.now() - began).toBeLessThan(2_000);
  expect(slots.count).toBe(8);
  world.gate = false;
  release(8);
  await until(() => slots.count === 2, { what: 'the minimum' });
  expect(most()).toBe(8);
  await until(async () => (await history())[0]?.to === 2, { what: 'the last decision to be kept' });
  const changes = (await history()).map(({ who, of, action }) => `${who} ${of} ${action}`).toReversed();
  expect(changes[0]).toBe('w1 slots grow');
  expect(new Set(changes.slice(1))).toEqual(new Set(['w1 slots shrink']));
});

test('short of memory, a worker gives out no new job above its minimum, and ends none; every decision is kept', async () => {
  const { slots, add, open, world, release, history } = await makeSlots();
  world.pressure = { ...NO_PRESSURE, memory_used: 88 };
  await add(40);
  await until(async () => (await history())[0]?.action === 'hold', { what: 'growth to be held back' });
  expect(slots.count).toBe(2);
  world.pressure = NO_PRESSURE;
  await until(() => open.size === 8, { what: 'growth after it' });
  world.pressure = { ...NO_PRESSURE, memory_used: 97 };
  await until(() => slots.count === 2, { what: 'the slots to be given up' });
  expect(open.size).toBe(8);
  release(3);
  await until(() => open.size === 5, { what: 'three to end, and none in their place' });
  release(4);
  // Two slots: the one that is left, and one new job.
  await until(() => open.size === 2, { what: 'the minimum in use' });
  const told = (await history()).map(({ action, from, to }) => `${action} ${from} ${to}`);
  expect(told).toEqual(['shrink 8 2', 'grow 2 8', 'hold 2 2']);
  expect((await history())[0]?.reason).toContain('97 % of the memory is used');
});

test('with still less memory it hands back what runs above its minimum, one after the other, and keeps the rest', async () => {
  const { add, open, world, history } = await makeSlots();
  await add(8);
  await until(() => open.size === 8, { what: 'the maximum' });
  world.pressure = { ...NO_PRESSURE, memory_used: 98.4 };
  await until(() => open.size === 2, { what: 'the minimum in use' });
  const { looks } = world;
  await until(() => world.looks > looks + 4, { what: 'a second more of looks' });
  expect(open.size).toBe(2);
  expect(world.handed_back).toEqual(Array.from({ length: 6 }, () => '98 % of the memory is used'));
  const told = (await history()).filter(({ action }) => action === 'hand back');
  expect(told.map(({ from, to }) => `${from} ${to}`)).toEqual(['3 2', '4 3', '5 4', '6 5', '7 6', '8 7']);
  expect(told[0]?.reason).toBe('98 % of the memory is used; copy of dataset 7 was handed back');
});

test('want of memory is met within a fraction of a second', async () => {
  const { slots, add, open, world } = await makeSlots();
  await add(40);
  await until(() => open.size === 8, { what: 'the maximum' });
  // Just after a look, the next one of every second is a second away.
  const { looks } = world;
  await until(() => world.looks > looks, { what: 'a look' });
  world.pressure = { ...NO_PRESSURE, memory_used: 97 };
  const began = performance.now();
  await until(() => slots.count === 2, { what: 'the slots to be given up' });
  expect(performance.now() - began).toBeLessThan(700);
});

test('the next job is handed back only when the last one is gone, and what it held is free', async () => {
  const { add, open, world, looks } = await makeSlots();
  await add(8);
  await until(() => open.size === 8, { what: 'the maximum' });
  const { promise, resolve } = Promise.withResolvers<void>();
  world.handing = promise;
  world.pressure = { ...NO_PRESSURE, memory_used: 99 };
  await until(() => world.handed_back.length === 1, { what: 'the first to be told' });
  await looks(6);
  expect(world.handed_back).toHaveLength(1);
  resolve();
  await until(() => world.handed_back.length > 1, { what: 'the next one' });
});

test('a worker that is told to take no jobs while it grows takes none', async () => {
  const { slots, add, open, looks } = await makeSlots();
  await add(2);
  await until(() => open.size === 2, { what: 'the minimum in use' });
  slots.move(4, 'by order');
  await slots.hold();
  await add(20);
  await looks(8);
  expect(open.size).toBe(2);
  slots.release();
  await until(() => open.size === slots.count && slots.count > 2, { what: 'what was held to be taken' });
});

test('a drained worker with a backlog decides nothing about its slots', async () => {
  const { slots, add, open, looks, history } = await makeSlots();
  await add(2);
  await until(() => open.size === 2, { what: 'the minimum in use' });
  await slots.hold();
  await add(20);
  await looks(10);
  expect(slots.count).toBe(2);
  expect(await history()).toEqual([]);
});

test('a worker that is told to stop in the midst of a look changes nothing any more', async () => {
  const { slots, add, open, world, history } = await makeSlots();
  await add(8);
  await until(() => open.size === 8 && slots.count === 8, { what: 'the maximum' });
  const before = await until(async () => {
    const told = await history();
    return told[0]?.to === 8 && told;
  });
  // Want of memory is seen by one look, which asks for another one at once; that one decides.
  const stopped = Promise.withResolvers<void>();
  world.pressure = { ...NO_PRESSURE, memory_used: 95 };
  let short = 0;
  world.onLook = () => {
    short += 1;
    if (short === 2) void slots.stopTaking().then(stopped.resolve);
  };
  await stopped.promise;
  expect({ count: slots.count, refused: world.refused }).toEqual({ count: 8, refused: true });
  expect(await history()).toEqual(before);
});

test('an order to grow that comes when a worker stops brings no job more', async () => {
  const { slots, add, open, active } = await makeSlots();
  await add(10);
  await until(() => open.size >= 2, { what: 'the minimum in use' });
  await slots.stopTaking();
  const running = open.size;
  slots.move(4, 'by order');
  await until(() => slots.count >= 6, { what: 'the order to be carried out' });
  await add(1);
  expect([open.size, await active()]).toEqual([running, running]);
});

test('slots are closed when the last job has left the queue as it ended, not before', async () => {
  const { slots, add, open, release, looks, active } = await makeSlots();
  await add(1);
  await until(() => open.size === 1, { what: 'a job' });
  await looks(1);
  await slots.stopTaking();
  let closed = false;
  const closing = slots.close().then(() => (closed = true));
  expect(await active()).toBe(1);
  expect(closed).toBe(false);
  release(1);
  await closing;
  expect(await active()).toBe(0);
});

test('a maximum below the minimum is the minimum too, and one slot stays', async () => {
  const { slots } = await makeSlots();
  slots.move(-20, 'by order');
  expect([slots.count, slots.limits.min, slots.limits.max]).toEqual([1, 1, 1]);
});

test('longshore scale --history tells people and programs who changed what, and why', async () => {
  const place = await makePlace();
  const side = await openQueueSide(place.config, {
    log: createLogger('test'),
    wait_seconds: 5,
    name: 'test',
  });
  onTestFinished(() => side.close());
  const at = new Date().toISOString();
  const entry = { at, who: 'w@h:1', of: 'slots', action: 'grow', from: 2, to: 8, reason: '6 wait' } as const;
  await rememberScale(side.redis, place.config, entry);
  const told = await runScript('longshore.ts', ['scale', '--history', '--json'], place.env);
  expect(JSON.parse(told.stdout)).toEqual({ decisions: [entry] });
  const shown = await runScript('longshore.ts', ['scale', '--history'], place.env);
  expect(shown.stdout).toMatch(/w@h:1 +2 to 8 slots +6 wait/);
});

import { describe, expect, test } from 'vitest';
import {
  look,
  NO_MEMORY,
  overMin,
  type ScaleDecision,
  type ScaleFacts,
  type ScaleLimits,
} from '../../workers/fleet/scaling/autoscaler.ts';
import { NO_PRESSURE, type Pressure } from '../../workers/fleet/scaling/pressure.ts';

const limits = {
  min: 2,
  max: 8,
  idle_seconds: 30,
  calm_seconds: 15,
  hold: { cpu_percent: 90, io_percent: 95, memory_stall_percent: 10, memory_used_percent: 85 },
  shrink: { memory_stall_percent: 30, memory_used_percent: 93 },
  hand_back: { memory_used_percent: 96 },
};
const facts: ScaleFacts = { now: 0, slots: 2, busy: 2, backlog: 0, pressure: NO_PRESSURE };

/** A sequence of looks, one a second, each with the slots that the last one left. */
function looks(
  each: (second: number, slots: number) => Partial<ScaleFacts>,
  seconds: number,
  slots = 2,
  of: ScaleLimits = limits,
) {
  let memory = NO_MEMORY;
  const decisions: (ScaleDecision & { second: number })[] = [];
  const course: number[] = [];
  for (let second = 0; second < seconds; second += 1) {
    const seen = look(memory, { ...facts, slots, now: second * 1000, ...each(second, slots) }, of);
    memory = seen.memory;
    if (seen.decision !== null) decisions.push({ ...seen.decision, second });
    slots = seen.decision?.to ?? slots;
    course.push(slots);
  }
  return { decisions, course };
}

test('a backlog with every slot busy makes the worker grow at once, by as much as waits, up to max', () => {
  const grow = (backlog: number) => look(NO_MEMORY, { ...facts, backlog }, limits).decision;
  expect(grow(3)).toMatchObject({
    action: 'grow',
    from: 2,
    to: 5,
    reason: expect.stringContaining('3 jobs wait'),
  });
  expect(grow(100)?.to).toBe(8);
});

test('a worker does not grow beyond max, nor while a slot is free for the next job', () => {
  expect(look(NO_MEMORY, { ...facts, slots: 8, busy: 8, backlog: 5 }, limits).decision).toBeNull();
  expect(look(NO_MEMORY, { ...facts, busy: 1, backlog: 5 }, limits).decision).toBeNull();
});

test('free slots are given up after the idle time, down to the most that were in use in it, and min is kept', () => {
  const idle = looks(() => ({ busy: 0 }), 60, 8);
  expect(idle.decisions).toMatchObject([
    { action: 'shrink', from: 8, to: 2, reason: expect.stringContaining('0 of 8') },
  ]);
  expect(idle.decisions[0]?.second).toBe(30);
  expect(looks((second) => ({ busy: second % 20 === 0 ? 5 : 1 }), 60, 8).course.at(-1)).toBe(5);
  expect(looks(() => ({ busy: 0, backlog: 1 }), 60, 8).decisions).toEqual([]);
});

test('the minimum is reached however near it is', () => {
  const near = { ...limits, min: 7 };
  expect(looks(() => ({ busy: 0 }), 60, 8, near).course.at(-1)).toBe(7);
});

test('slots that somebody has just added are not idle yet', () => {
  const idle = Array.from({ length: 31 }, (_, second) => ({ at: second * 1000, busy: 0 }));
  const since = (changed_at: number) =>
    look({ ...NO_MEMORY, used: idle, changed_at }, { ...facts, now: 30_000, slots: 4, busy: 0 }, limits);
  expect(since(29_000).decision).toBeNull();
  expect(since(0).decision).toMatchObject({ action: 'shrink', to: 2 });
});

const under = (pressure: Partial<Pressure>): Pressure => ({ ...NO_PRESSURE, ...pressure });

describe('pressure', () => {
  test.each([
    [{ cpu: 95 }, 'processor 95 %'],
    [{ io: 99 }, 'disk 99 %'],
    [{ memory_stall: 12 }, 'memory 12 %'],
    [{ memory_used: 88 }, '88 % of the memory'],
  ])('%j holds growth back, and that is told once', (pressure, reason) => {
    const { decisions, course } = looks(() => ({ backlog: 9, pressure: under(pressure) }), 60);
    expect(decisions).toMatchObject([
      { action: 'hold', from: 2, to: 2, reason: expect.stringContaining(reason) },
    ]);
    expect(course.at(-1)).toBe(2);
  });

  test.each([[{ cpu: 99 }], [{ io: 99 }]])('growth begins again as soon as %j has passed', (pressed) => {
    const pressure = (second: number) => (second < 10 ? under(pressed) : NO_PRESSURE);
    const { decisions } = looks((second) => ({ backlog: 9, pressure: pressure(second) }), 60);
    expect(decisions.map(({ action, second, to }) => [action, second, to])).toEqual([
      ['hold', 0, 2],
      ['grow', 10, 8],
    ]);
  });

  test('what holds growth back is not told again because a slot was free for a moment', () => {
    const pressure = under({ cpu: 99 });
    const { decisions } = looks((second) => ({ backlog: 9, pressure, busy: 2 - (second % 2) }), 20);
    expect(decisions).toHaveLength(1);
  });

  test('after want of memory growth begins again when there has been enough for a while', () => {
    const pressure = (second: number) => (second < 10 ? under({ memory_used: 88 }) : NO_PRESSURE);
    const { decisions } = looks((second) => ({ backlog: 9, pressure: pressure(second) }), 60);
    expect(decisions.map(({ action, second, to }) => [action, second, to])).toEqual([
      ['hold', 0, 2],
      ['grow', 24, 8],
    ]);
  });

  test.each([[{ memory_stall: 40 }], [{ memory_used: 95 }]])(
    'with memory almost gone (%j) all slots above min are given up, whatever runs in them',
    (pressure) => {
      const { decision } = look(
        NO_MEMORY,
        { ...facts, slots: 8, busy: 8, backlog: 50, pressure: under(pressure) },
        limits,
      );
      expect(decision).toMatchObject({ action: 'shrink', from: 8, to: 2 });
      expect(decision?.reason).toContain('6 jobs above 2 end by themselves');
    },
  );

  test('what memory took away comes back one by one, and not to where it ran short', () => {
    const pressure = (slots: number) => under({ memory_used: slots === 8 ? 95 : 60 });
    const { decisions, course } = looks(
      (_, slots) => ({ busy: slots, backlog: 50, pressure: pressure(slots) }),
      500,
    );
    expect(decisions.map(({ action }) => action).slice(0, 3)).toEqual(['grow', 'shrink', 'grow']);
    expect(decisions.filter(({ action }) => action === 'shrink')).toHaveLength(1);
    expect(Math.max(...course.slice(10))).toBe(7);
    const steps = decisions.filter(({ action }) => action === 'grow').slice(1);
    expect(steps.every(({ from, to }) => to === from + 1)).toBe(true);
  });

  test('it comes back by one slot every calm_seconds, and after ten minutes as far as ever', () => {
    const pressure = (second: number) => under({ memory_used: second === 5 ? 95 : 60 });
    const { decisions } = looks(
      (second, slots) => ({ busy: slots, backlog: 50, pressure: pressure(second) }),
      700,
    );
    const grown = decisions.filter(({ action }) => action === 'grow');
    expect(grown.map(({ second, to }) => [second, to])).toEqual([
      [0, 8],
      [20, 3],
      [35, 4],
      [50, 5],
      [65, 6],
      [80, 7],
      [605, 8],
    ]);
  });

  test.each([
    // One less than what was in use, not than what might have been; and of more jobs than slots, one less than those.
    [8, 5, 4],
    [4, 8, 3],
  ])('memory that ran short with %i slots and %i jobs sets %i as the most', (slots, busy, most) => {
    const pressed = { ...facts, slots, busy, backlog: 9, pressure: under({ memory_used: 95 }) };
    expect(look(NO_MEMORY, pressed, limits).memory.ceiling?.slots).toBe(most);
  });

  test('where only the threshold of `shrink` is set, it holds growth back as well', () => {
    const hold = {
      cpu_percent: null,
      io_percent: null,
      memory_stall_percent: null,
      memory_used_percent: null,
    };
    const pressure = (second: number) => under({ memory_used: second < 10 ? 95 : 60 });
    const { decisions } = looks((second) => ({ backlog: 9, pressure: pressure(second) }), 30, 2, {
      ...limits,
      hold,
    });
    expect(decisions.map(({ action, second, to }) => [action, second, to])).toEqual([
      ['hold', 0, 2],
      ['grow', 24, 8],
    ]);
  });

  test('a worker that has only its minimum gives up nothing, and says nothing of it', () => {
    expect(looks(() => ({ busy: 0, pressure: under({ memory_used: 95 }) }), 30).decisions).toEqual([]);
  });

  test('each bad time is told once: not again for a free slot, but again when another one comes', () => {
    const flicker = (second: number, slots: number) => ({ backlog: 9, busy: slots - (second % 2) });
    const calming = looks(
      (second, slots) => ({
        ...flicker(second, slots),
        pressure: under({ memory_used: second < 2 ? 88 : 60 }),
      }),
      16,
    );
    expect(calming.decisions).toMatchObject([{ action: 'hold', second: 0 }]);
    const capped = looks(
      (second, slots) => ({
        ...flicker(second, slots),
        pressure: under({ memory_used: second === 2 ? 95 : 60 }),
      }),
      300,
    );
    const last = capped.decisions.findLast(({ action }) => action === 'grow')?.second ?? 0;
    expect(capped.decisions.filter(({ second }) => second > last)).toMatchObject([{ action: 'hold', to: 7 }]);
    const two = looks(
      (second) => ({
        backlog: second < 5 || second >= 40 ? 9 : 0,
        pressure: under({ cpu: second < 5 || second >= 40 ? 99 : 0 }),
      }),
      60,
    );
    expect(two.decisions.map(({ action, second }) => [action, second])).toEqual([
      ['hold', 0],
      ['hold', 40],
    ]);
  });

  test('a kernel that tells nothing holds nothing back', () => {
    expect(looks(() => ({ backlog: 9, pressure: NO_PRESSURE }), 1).course).toEqual([8]);
  });
});

/** Repeatable noise (mulberry32). */
function noiseOf(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test('a step load from 0 to 1,000 jobs under noise: max in under 2 s, min after the idle time, never back and forth', () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const noise = noiseOf(seed);
    let waiting = 0;
    let running: number[] = [];
    const { decisions, course } = looks((second, slots) => {
      if (second === 60) waiting += 1000;
      running = running.map((left) => left - 1).filter((left) => left > 0);
      while (running.length < slots && waiting > 0) {
        waiting -= 1;
        running.push(Math.ceil(noise() * 9));
      }
      // What a look sees: a slot may be free for a moment, and pressure jumps about below its thresholds.
      const busy = Math.max(0, running.length - (noise() < 0.2 ? 1 : 0));
      const pressure = under({ cpu: noise() * 89, io: noise() * 90, memory_used: 50 + noise() * 34 });
      return {
        busy: Math.max(busy, waiting > 0 && noise() < 0.9 ? slots : busy),
        backlog: waiting,
        pressure,
      };
    }, 1500);
    const changes = decisions.filter(({ action }) => action !== 'hold');
    expect(Math.max(...course.slice(0, 60)), `seed ${seed}`).toBe(2);
    expect(course.findIndex((slots) => slots === 8) - 60, `seed ${seed}`).toBeLessThan(2);
    expect(course.at(-1), `seed ${seed}`).toBe(2);
    // Up once; down once, or by a few steps as the last jobs end; never up again.
    const directions = changes.map(({ action }) => action).join(' ');
    expect(directions, `seed ${seed}`).toMatch(/^grow( shrink)+$/);
  }
});

test('a load that goes up and down faster than the idle time changes nothing', () => {
  const noise = noiseOf(7);
  const { decisions } = looks((second, slots) => {
    const wanted = 1 + Math.round(3 * (1 + Math.sin(second / 3)) + noise());
    return { busy: Math.min(wanted, slots), backlog: Math.max(0, wanted - slots) };
  }, 2000);
  expect(decisions.some(({ action }) => action === 'shrink')).toBe(false);
  expect(decisions.length).toBeLessThan(6);
});

test.each([
  [{ memory_used: 97 }, 3, '97 % of the memory is used'],
  [{ memory_used: 97 }, 2, null],
  [{ memory_used: 95 }, 8, null],
  // A mean of the last ten seconds: when it is told, the memory may be there again.
  [{ memory_stall: 100 }, 8, null],
  [{}, 8, null],
])('with %o and %i jobs in hand, the reason to hand one back is %s', (pressure, busy, reason) => {
  expect(overMin({ busy, pressure: { ...NO_PRESSURE, ...pressure } }, limits)).toBe(reason);
});

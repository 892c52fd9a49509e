import { expect, test } from 'vitest';
import { decideSlots } from '../../workers/fleet/autoscaler.ts';

const limits = { min: 2, max: 8, idle_seconds: 30 };
const facts = { slots: 2, busy: 2, backlog: 0, idle_seconds: 0 };

test('a backlog with every slot busy makes the worker grow at once, by as much as waits, up to max', () => {
  expect(decideSlots({ ...facts, backlog: 3 }, limits)?.slots).toBe(5);
  expect(decideSlots({ ...facts, backlog: 100 }, limits)?.slots).toBe(8);
  expect(decideSlots({ ...facts, backlog: 3 }, limits)?.reason).toContain('3 job(s) wait');
});

test('a worker does not grow beyond max, nor while a slot is free for the next job', () => {
  expect(decideSlots({ ...facts, slots: 8, busy: 8, backlog: 5 }, limits)).toBeNull();
  expect(decideSlots({ ...facts, busy: 1, backlog: 5 }, limits)).toBeNull();
});

test('free slots are given up after the idle time, those in use never, and min is kept', () => {
  const idle = { slots: 8, busy: 0, backlog: 0, idle_seconds: 30 };
  expect(decideSlots({ ...idle, idle_seconds: 29 }, limits)).toBeNull();
  expect(decideSlots(idle, limits)).toMatchObject({ slots: 2, reason: expect.stringContaining('idle') });
  expect(decideSlots({ ...idle, busy: 5 }, limits)?.slots).toBe(5);
  expect(decideSlots({ ...idle, backlog: 1 }, limits)).toBeNull();
  expect(decideSlots({ ...idle, slots: 2 }, limits)).toBeNull();
});

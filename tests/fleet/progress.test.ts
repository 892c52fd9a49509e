import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import {
  createMeter,
  createProgressWriter,
  type MeterState,
  sample,
} from '../../workers/fleet/isolation/progress.ts';
import type { Progress } from '../../workers/records/contract.ts';

const KEYS = 'name fraction_done done total units time_remaining_sec wt_avg_rate avg_rate'.split(' ');
const fresh = (): MeterState => ({
  started: 0,
  at: 0,
  fraction: 0,
  skipped: 0,
  average: 0,
  samples: 0,
});
const of = (total: number | null) => ({ name: 'tar', total, units: 'bytes' });

test('progress has the eight keys and no percentage', () => {
  const { progress } = sample(fresh(), 1000, 10, of(100));
  expect(Object.keys(progress).toSorted()).toEqual(KEYS.toSorted());
});

test('the rate is a bias-corrected exponential average with weight 0.9 on the past', () => {
  const first = sample(fresh(), 1000, 10, of(100));
  expect(first.progress.wt_avg_rate).toBeCloseTo(10); // 0.01 / (1 - 0.9)
  expect(first.progress.time_remaining_sec).toBeCloseTo(9);
  const second = sample(first.state, 2000, 40, of(100));
  // rates 0.1 and 0.3: (0.9 * 0.01 + 0.1 * 0.3) / (1 - 0.81)
  const rate = (0.9 * 0.01 + 0.1 * 0.3) / (1 - 0.81);
  expect(second.progress.wt_avg_rate).toBeCloseTo(rate * 100);
  expect(second.progress.time_remaining_sec).toBeCloseTo(0.6 / rate);
  expect(second.progress.avg_rate).toBeCloseTo(20);
  expect(second.progress.fraction_done).toBeCloseTo(0.4);
});

test('what was skipped is done, and does not shorten the time that the rest takes', () => {
  const first = sample(fresh(), 1000, 10, of(100));
  const hole = sample(first.state, 2000, 60, of(100), 40);
  expect(hole.progress).toMatchObject({ fraction_done: 0.6, done: 60 });
  expect(hole.progress.wt_avg_rate).toBeCloseTo(10);
  expect(hole.progress.time_remaining_sec).toBeCloseTo(4);
  expect(hole.progress.avg_rate).toBeCloseTo(10);
  // It was skipped once: the next sample measures what came after it.
  expect(sample(hole.state, 3000, 70, of(100), 40).progress.time_remaining_sec).toBeCloseTo(3);
});

test.each([null, 0])('a total of %s gives nulls, and JSON never holds NaN or Infinity', (total) => {
  const { progress } = sample(fresh(), 1000, 5, of(total));
  expect(progress).toEqual({
    name: 'tar',
    fraction_done: null,
    done: 5,
    total,
    units: 'bytes',
    time_remaining_sec: null,
    wt_avg_rate: null,
    avg_rate: null,
  });
});

test('before anything moved the time remaining is unknown; above the total none remains', () => {
  expect(sample(fresh(), 0, 0, of(100)).progress).toMatchObject({
    time_remaining_sec: null,
    wt_avg_rate: null,
    avg_rate: null,
  });
  expect(sample(fresh(), 1000, 0, of(100)).progress.time_remaining_sec).toBeNull();
  expect(sample(fresh(), 1000, 110, of(100)).progress).toMatchObject({
    fraction_done: 1.1,
    time_remaining_sec: 0,
  });
});

test('a hundred thousand updates make one write per interval; first and final value are always written', async () => {
  const written: Progress[] = [];
  const writer = createProgressWriter(async (value) => {
    written.push(value as Progress);
  }, 100);
  const meter = createMeter('copy', { total: 100_000, units: 'bytes' }, writer);
  const begun = performance.now();
  for (let done = 1; done <= 100_000; done += 1) {
    meter.add(1);
    if (done % 10_000 === 0) await sleep(15);
  }
  meter.end();
  await writer.flush();
  const intervals = Math.ceil((performance.now() - begun) / 100);
  expect(written[0]?.done).toBe(0);
  expect(written.at(-1)).toMatchObject({ done: 100_000, fraction_done: 1, time_remaining_sec: 0 });
  expect(written.length).toBeLessThanOrEqual(intervals + 2);
  expect(written.length).toBeGreaterThanOrEqual(2);
});

test('a value that comes too soon is written when the interval is over, without a further update', async () => {
  const written: number[] = [];
  const writer = createProgressWriter(async (value) => {
    written.push((value as { done: number }).done);
  }, 50);
  writer.offer(() => ({ done: 1 }));
  writer.offer(() => ({ done: 2 }));
  writer.offer(() => ({ done: 3 }));
  expect(written.length).toBeLessThanOrEqual(1);
  await expect.poll(() => written).toEqual([1, 3]);
});

test('a slow write is waited for: values are written in the order in which they came', async () => {
  const written: string[] = [];
  const first = Promise.withResolvers<void>();
  const writer = createProgressWriter(async (value) => {
    const { name } = value as { name: string };
    if (name === 'slow') await first.promise;
    written.push(name);
  }, 0);
  writer.offer(() => ({ name: 'slow' }), { at_once: true });
  writer.offer(() => ({ name: 'quick' }), { at_once: true });
  const flushed = writer.flush();
  first.resolve();
  await flushed;
  expect(written).toEqual(['slow', 'quick']);
});

test('the last value of a task that ends is written at once, also where its meter was not ended', async () => {
  const written: number[] = [];
  const writer = createProgressWriter(async (value) => {
    written.push((value as Progress).done ?? -1);
  }, 3_600_000);
  const meter = createMeter('copy', { total: 3, units: 'files' }, writer);
  for (const done of [1, 2]) meter.set(done);
  await writer.flush();
  expect(written).toEqual([0, 2]);
});

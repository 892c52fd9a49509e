import { expect, test } from 'vitest';
import type { Dataset } from '../../workers/dataset/types.ts';
import { chooseForSpace, mayGo, type Staged, usedPercent } from '../../scripts/purge/pressure.ts';

const DAY = 86_400_000;
const now = Date.UTC(2026, 5, 1);

const staged = (id: number, days: number, frees: Record<string, number>): Staged => ({
  dataset: { id } as Dataset,
  staged_at: new Date(now - days * DAY).toISOString(),
  frees,
});

const full = (device: string, used: number) => ({ device, path: `/${device}`, used, total: 100 });
const levels = { high_percent: 90, low_percent: 80, min_age_days: 1 };

function chosen(
  fileSystems: ReturnType<typeof full>[],
  copies: Staged[],
  freed: Record<string, number> = {},
): number[] {
  return chooseForSpace(fileSystems, copies, levels, { now, freed }).map((one) => one.staged.dataset.id);
}

test('as many as bring it to the lower mark, in the order given, and none below the upper one', () => {
  const copies = [staged(1, 9, { a: 8 }), staged(2, 8, { a: 8 }), staged(3, 7, { a: 8 })];
  expect(chosen([full('a', 95)], copies)).toEqual([1, 2]);
  expect(chosen([full('a', 90)], copies)).toEqual([]);
  expect(chosen([full('a', 100)], copies)).toEqual([1, 2, 3]);
});

test('what age has freed already counts, a copy on another file system does not help, a fresh one stays', () => {
  const copies = [staged(1, 9, { b: 50 }), staged(2, 0.9, { a: 50 }), staged(3, 5, { a: 50 })];
  expect(chosen([full('a', 95), full('b', 50)], copies)).toEqual([3]);
  expect(chosen([full('a', 95)], copies, { a: 6 })).toEqual([]);
});

test('tree and bundle on two full file systems count for both', () => {
  const copies = [staged(1, 9, { a: 20, b: 5 }), staged(2, 8, { a: 20 }), staged(3, 7, { b: 20 })];
  expect(chosen([full('a', 95), full('b', 95)], copies)).toEqual([1, 3]);
});

test('a copy that was never staged as far as the states tell is older than any', () => {
  expect(mayGo({ staged_at: null }, 365, now)).toBe(true);
  expect(mayGo({ staged_at: new Date(now - DAY).toISOString() }, 1, now)).toBe(true);
  expect(mayGo({ staged_at: new Date(now - DAY + 1).toISOString() }, 1, now)).toBe(false);
});

test('an empty file system is not full', () => {
  expect(usedPercent({ device: 'a', path: '/', used: 0, total: 0 })).toBe(0);
});

/** The disk of the catalog is full while jobs run and wait: nothing is lost, and the log says so once. */
import { mkdirSync, mkdtempSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeFleet } from '../support/fleet.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { until } from '../support/until.ts';

const FULL_MS = 5_000;

test('each trouble of a full catalog disk is told once and its end once, and every step runs once', async (context) => {
  const root = join(import.meta.dirname, '../../var/test');
  mkdirSync(root, { recursive: true });
  const disk = mkdtempSync(join(root, 'disk-'));
  onTestFinished(() => rmdirSync(disk));
  if (smallFileSystem(disk, ['size=48m']) === null) return context.skip('NOT TESTED: mounting needs root');
  const fleet = await makeFleet({
    catalog: { path: join(disk, 'longshore.db') },
    queue: { lock_seconds: 30, stalled_check_seconds: 5 },
  });
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const ids = await Promise.all(
    Array.from({ length: 6 }, () => fleet.start({ one: { until_file: go }, two: {} })),
  );
  await until(() => fleet.events('start').length >= 2, { what: 'two steps to run' });
  const others = join(disk, 'others');
  expect(() => {
    for (const bytes of [1_000_000, 4096])
      try {
        for (;;) writeFileSync(others, Buffer.alloc(bytes), { flag: 'a' });
      } catch (error) {
        if (bytes === 4096) throw error;
      }
  }).toThrow('ENOSPC');
  writeFileSync(go, '');
  const count = (text: string): number => worker.log().split(text).length - 1;
  await until(() => count('could not be recorded yet') > 0, { what: 'the trouble to be met' });
  const full_at = performance.now();
  await until(() => performance.now() - full_at > FULL_MS, { what: 'it to be met again and again' });
  rmSync(others);
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  await until(() => count('outcomes are recorded again') > 0, { what: 'its end to be told' });
  const lines = worker
    .log()
    .split('\n')
    .filter((line) => line.includes('E_NO_SPACE'));
  const told = (message: string) => lines.filter((line) => line.includes(`"msg":"${message}`));
  expect(told('an outcome could not be recorded yet')).toHaveLength(1);
  expect(told('the records did not answer').length).toBeLessThanOrEqual(1);
  expect(told('outcomes are recorded again')).toHaveLength(1);
  expect(Number(/"times":(\d+)/.exec(told('outcomes are recorded again')[0] ?? '')?.[1])).toBeGreaterThan(4);
  expect(lines.length).toBeLessThan(10);
  const runs = fleet.events('start').map(({ task_id }) => task_id);
  expect(runs).toHaveLength(12);
  expect(new Set(runs).size).toBe(12);
});

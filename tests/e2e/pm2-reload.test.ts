import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makeKept } from '../support/kept.ts';
import { until } from '../support/until.ts';

test('pm2 reload and pm2 stop under load: jobs are handed back, each ends once, and no retry is used', {
  timeout: 300_000,
}, async () => {
  const { fleet, pm2, log, ready } = await makeKept({
    // Only what is handed back can go on while this test waits.
    queue: { lock_seconds: 600 },
    task: { kill_grace_seconds: 0.5 },
  });
  await ready(1);
  const go = fleet.place.path('go');
  const held = await fleet.start({ a: { until_file: go }, b: {} });
  const behind = await fleet.start({ c: {} });
  await until(() => fleet.events('start', 'a').length === 1, { what: 'the first step to run' });

  expect(pm2('reload', 'worker').status).toBe(0);
  await until(() => fleet.events('start', 'a').length === 2, { what: 'the reloaded worker to go on' });
  expect(pm2('stop', 'worker').status).toBe(0);
  expect(log().split('takes no more jobs')).toHaveLength(3);
  expect(log()).not.toContain('the shutdown was cut off');
  // Nobody is there, and what was handed back lies in the queue for whoever comes next.
  const { workers, jobs } = await fleet.engine.fleet();
  expect(workers).toEqual([]);
  expect(jobs).toMatchObject({ active: 0, failed: 0 });
  expect((jobs.prioritized ?? 0) + (jobs.delayed ?? 0)).toBeGreaterThan(0);

  writeFileSync(go, '');
  expect(pm2('restart', 'worker').status).toBe(0);
  const done = [await fleet.reaches(held, 'SUCCESS'), await fleet.reaches(behind, 'SUCCESS')];
  const ends = fleet.events('end').map(({ step }) => step);
  expect(ends.toSorted()).toEqual(['a', 'b', 'c']);
  const attempts = await Promise.all(
    done.flatMap(({ steps }) =>
      steps.map(async ({ last_task_run: run }) => {
        expect(run).toMatchObject({ retries: 0, losses: 0 });
        const all = await fleet.store.records.attempts(run?._id ?? '');
        return all.map(({ outcome }) => outcome);
      }),
    ),
  );
  expect(attempts).toEqual([['postponed', 'postponed', 'success'], ['success'], ['success']]);
});

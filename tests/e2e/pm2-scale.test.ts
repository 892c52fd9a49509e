import { existsSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makeKept } from '../support/kept.ts';
import { until } from '../support/until.ts';

/** Each question is a run of pm2 or of longshore. */
const every_ms = 1000;

test('scaled up and down under load, the newest worker ends its job before it goes, and no job is lost or run twice', {
  timeout: 300_000,
}, async () => {
  const { fleet, longshore, workers, log, ready } = await makeKept({});
  await ready(1);
  const up = longshore('scale', '3', '--json');
  expect(JSON.parse(up.stdout), up.stderr).toEqual({
    dry_run: false,
    from: 1,
    to: 3,
    draining: [],
    removed: [],
  });
  await ready(3);
  const go = fleet.place.path('go');
  const ids = [];
  for (const name of ['a', 'b', 'c', 'd', 'e']) ids.push(await fleet.start({ [name]: { until_file: go } }));
  await until(() => fleet.events('start').length === 3, { what: 'one job in each worker' });

  const newest = workers().toSorted((one, other) => other.pm_id - one.pm_id);
  const down = longshore('scale', '1', '--json');
  const leaving = newest.slice(0, 2).map(({ pid }) => pid);
  expect(JSON.parse(down.stdout), down.stderr).toEqual({
    dry_run: false,
    from: 3,
    to: 1,
    draining: leaving,
    removed: [],
  });
  await until(() => log().split('worker is leaving').length === 3, { what: 'both to drain' });
  // Asked again, those that leave already do not count.
  expect(JSON.parse(longshore('scale', '1', '--json').stdout)).toMatchObject({
    from: 1,
    to: 1,
    draining: [],
  });
  for (const { pid } of newest) expect(() => process.kill(pid, 0)).not.toThrow();
  writeFileSync(go, '');
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  await until(() => workers().length === 1, { what: "the drained to be gone from pm2's list", every_ms });
  expect(workers()).toEqual([{ ...newest[2], status: 'online' }]);
  expect(
    fleet
      .events('start')
      .map(({ step }) => step)
      .toSorted(),
  ).toEqual(['a', 'b', 'c', 'd', 'e']);
  expect(fleet.events('end')).toHaveLength(5);
  for (const id of ids) {
    const [step] = (await fleet.engine.show(id)).steps;
    expect(await fleet.store.records.attempts(step?.last_task_run?._id ?? '')).toHaveLength(1);
  }
  expect(longshore('scale', '--history').stdout).toMatch(/3 to 1 processes +asked for by/);
});

test('scaled down again before the new workers have begun, they are gone at once and pm2 does not start them again', {
  timeout: 300_000,
}, async () => {
  const { longshore, workers, log, ready } = await makeKept({});
  await ready(1);
  const [first] = workers();
  expect(longshore('scale', '4', '--json').status).toBe(0);
  const newest = workers().slice(-2);
  const down = longshore('scale', '2', '--json');
  const { draining, removed } = JSON.parse(down.stdout) as { draining: number[]; removed: number[] };
  // On a machine in a hurry one of them may have begun meanwhile.
  expect(new Set([...draining, ...removed]), down.stderr).toEqual(new Set(newest.map(({ pid }) => pid)));
  await ready(2);
  await until(() => newest.every(({ pid }) => !existsSync(`/proc/${pid}`)), { what: 'both to be gone' });
  // One that had begun is forgotten at the next look of the host's watch.
  await until(() => workers().length === 2, { what: "both to be gone from pm2's list", every_ms });
  const left = workers();
  expect(left.map(({ pm_id, status }) => [pm_id, status])).toEqual([
    [first?.pm_id, 'online'],
    [(first?.pm_id ?? 0) + 1, 'online'],
  ]);
  expect(left[0]).toEqual(first);
  expect(log()).not.toContain('SIGUSR2');
});

test('a job that waits too long brings a process more by itself, and an idle one goes again', {
  timeout: 300_000,
}, async () => {
  const { fleet, workers, ready, longshore } = await makeKept({
    instances: { min: 1, max: 2, age_seconds: 2, idle_seconds: 6 },
    // They wait in the second one.
    workers: { worker: { queues: ['{app_id}.other', '{app_id}.q'] } },
  });
  await ready(1);
  const go = fleet.place.path('go');
  const ids = [];
  for (const name of ['a', 'b', 'c']) ids.push(await fleet.start({ [name]: { until_file: go } }));
  await until(() => fleet.events('start').length === 2, { what: 'a second worker at work' });
  expect(workers()).toHaveLength(2);
  writeFileSync(go, '');
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start')).toHaveLength(3);
  const told = longshore('scale', '--history').stdout;
  expect(told).toMatch(/1 to 2 processes +a job has waited for/);
  await until(() => workers().length === 1, { what: 'the second worker to go', ms: 120_000, every_ms });
  expect(longshore('scale', '--history').stdout).toMatch(/2 to 1 processes/);
});

import { counted } from '../../scripts/cli/format.ts';
import { expect, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { withScriptLock } from '../../workers/queue/script-lock.ts';
import { makeFleet } from '../support/fleet.ts';
import { runScript } from '../support/script.ts';
import { until } from '../support/until.ts';

const total = (jobs: Record<string, number>): number =>
  Object.values(jobs).reduce((sum, one) => sum + one, 0);

async function setUp() {
  const fleet = await makeFleet();
  const run = (script: string, ...args: string[]) => runScript(`${script}.ts`, args, fleet.place.env);
  const jobs = async () => total((await fleet.engine.fleet()).jobs);
  return { ...fleet, run, jobs };
}

test('delete_queue says what would go, asks for --yes, and deletes; the records bring it back', async () => {
  const fleet = await setUp();
  const { run, jobs } = fleet;
  const id = await fleet.start({ a: {}, b: {} });
  const queued = await jobs();
  expect(queued).toBeGreaterThan(0);
  const dry = await run('delete_queue', '--dry-run', '--json');
  expect(JSON.parse(dry.stdout)).toMatchObject({ dry_run: true, deleted: false, queue: 'longshore-test.q' });
  const asked = await run('delete_queue');
  expect(asked).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`holds ${counted(queued, 'job')}; nothing was deleted`),
  });
  expect(await jobs()).toBe(queued);
  const done = await run('delete_queue', '--yes');
  expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('put back by the workers') });
  expect(await jobs()).toBe(0);
  for (const name of ['no-such.q', 'a b', 'no:queue', ''])
    expect(await run('delete_queue', name, '--yes')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`has a queue "${name}"`),
    });

  const suspected = JSON.parse((await run('reconcile', '--dry-run', '--json')).stdout) as object;
  expect(suspected).toEqual({ dry_run: true, looked_at: 1, suspicious: [id], dismissed: [] });
  expect(await jobs()).toBe(0);
  const repaired = JSON.parse((await run('reconcile', '--json')).stdout) as object;
  expect(repaired).toEqual({ dry_run: false, looked_at: 1, repaired: [id], dismissed: [] });
  expect(await jobs()).toBe(queued);
  expect((await fleet.engine.reconcile()).repaired).toEqual([]);
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
});

test('a queue whose jobs run is not deleted unless it is forced', async () => {
  const fleet = await setUp();
  const { run, place } = fleet;
  await fleet.start({ hold: { until_file: place.path('never') } });
  await fleet.worker();
  await until(() => fleet.events('start').length === 1);
  const refused = await run('delete_queue', '--yes');
  expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining('workers run 1 job of') });
});

test('a reconciliation that finds another one at work ends with 75 and does nothing', async () => {
  const { place, run } = await setUp();
  await withScriptLock(place.config, 'reconcile', createLogger('test'), async () => {
    expect((await run('reconcile')).code).toBe(75);
    expect((await run('reconcile', '--dry-run')).code).toBe(0);
  });
});

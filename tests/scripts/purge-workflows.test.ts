import { writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { findStale, purgeWorkflow } from '../../scripts/purge/workflows.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { makeFleet } from '../support/fleet.ts';
import { makeWorkflow } from '../records/workflow.ts';
import { runScript } from '../support/script.ts';
import { until } from '../support/until.ts';

const OLD = new Date(Date.now() - 2 * 86_400_000).toISOString();
const GONE = 4711;

async function setUp() {
  const fleet = await makeFleet();
  const { store, place } = fleet;
  const dataset_id = await fleet.dataset();
  const add = async (given: Parameters<typeof makeWorkflow>[0] = {}): Promise<string> => {
    const workflow = makeWorkflow({ created_at: OLD, dataset_id: GONE, _status: 'SUCCESS', ...given });
    await store.records.createWorkflow(workflow);
    return workflow.id;
  };
  const purge = (...args: string[]) => runScript('purge_stale_workflows.ts', args, place.env);
  const ids = async () =>
    (await store.records.listWorkflows({ limit: 1000 })).results.map(({ workflow }) => workflow.id).sort();
  return { ...fleet, dataset_id, add, purge, ids };
}

type Answer = { workflows: { id: string; outcome: string }[]; left: number; running: { id: string }[] };
const answer = (stdout: string): Answer => JSON.parse(stdout) as Answer;

test('what is old, of the types and the app, and named by no dataset goes; everything else stays', async () => {
  const { add, purge, ids, dataset_id, store } = await setUp();
  const stale = [
    await add(),
    await add({ name: 'stage', _status: 'FAILURE' }),
    await add({ dataset_id: null }),
  ];
  const never = await add({ _status: 'PENDING' });
  const resumed = await add({ _status: 'FAILURE', resume_lock: OLD });
  const kept = [
    resumed,
    await add({ dataset_id }),
    await add({ created_at: new Date().toISOString() }),
    await add({ name: 'qc' }),
    await add({ app_id: 'another' }),
  ];
  const { code, stdout } = await purge('--json');
  expect(code).toBe(0);
  const { workflows: rows, running } = answer(stdout);
  expect(rows.map(({ id }) => id).sort()).toEqual([...stale, never].sort());
  expect(new Set(rows.map(({ outcome }) => outcome))).toEqual(new Set(['purged']));
  expect(running.map(({ id }) => id)).toEqual([resumed]);
  expect(await ids()).toEqual(kept.toSorted());
  const subject = `workflow:${stale[0]}`;
  expect((await store.records.auditLog({ subject }))[0]).toMatchObject({ action: 'workflow.delete' });
});

test('app, types, age and cap are those of the command line, spelled as the reference does or with dashes', async () => {
  const { add, purge, ids } = await setUp();
  const young = new Date(Date.now() - 120_000).toISOString();
  const chosen = [];
  for (let n = 0; n < 3; n++)
    chosen.push(
      await add({ app_id: 'other', name: 'qc', created_at: new Date(Date.parse(young) + n).toISOString() }),
    );
  const kept = await add();
  const first = [
    '--app_id',
    'other',
    '--workflow_types',
    '["qc"]',
    '--age_threshold',
    '60',
    '--max_purge_count=2',
  ];
  const dry = await purge(...first, '--dry_run=True', '--json');
  expect(answer(dry.stdout)).toMatchObject({ left: 1, workflows: [{ id: chosen[0] }, { id: chosen[1] }] });
  expect(await ids()).toEqual([...chosen, kept].toSorted());
  const done = await purge(...first, '--dry_run=False');
  expect(done.stdout).toMatch(/2 stale workflows, 1 left for the next run \(cap\)/);
  expect(done.stderr).toContain('more workflows are stale');
  const dashes = [
    '--app-id',
    'other',
    '--workflow-types',
    '["qc"]',
    '--age-threshold',
    '60',
    '--max-purge-count',
    '9',
  ];
  expect((await purge(...dashes)).code).toBe(0);
  expect(await ids()).toEqual([kept]);
  expect((await purge('--workflow_types', '[1]')).code).toBe(2);
  // Configured nowhere, and recorded for another app at most.
  const unknown = await purge('--workflow_types', 'notjson');
  expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('no workflow "notjson" is') });
  const two = await purge('--workflow_types', 'qc,one,two');
  expect(two.stderr).toMatch(/no workflow "one" is .*; no workflow "two" is /);
});

test('a dry run leaves every row as it was', async () => {
  const { add, purge, place } = await setUp();
  await add();
  const content = (): string => {
    const database = new DatabaseSync(place.config.catalog.path, { readOnly: true });
    const tables = ['workflows', 'steps', 'runs', 'audit', 'notes'];
    const rows = JSON.stringify(tables.map((table) => database.prepare(`select * from ${table}`).all()));
    database.close();
    return rows;
  };
  const before = content();
  const { code, stdout } = await purge('--dry-run');
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('would purge') });
  expect(content()).toBe(before);
});

test('one that runs stays, whatever its age, and goes on', async () => {
  const fleet = await setUp();
  const go = fleet.place.path('go');
  await fleet.worker();
  const id = await fleet.start({ hold: { until_file: go } }, { dataset_id: GONE });
  await until(() => fleet.events('start').length === 1);
  const database = new DatabaseSync(fleet.place.config.catalog.path);
  database.prepare('update workflows set created_at = ? where id = ?').run(OLD, id);
  database.close();
  const { stdout } = await fleet.purge('--workflow_types', '["drill"]', '--json');
  expect(answer(stdout)).toMatchObject({ workflows: [], running: [{ id, status: 'STARTED' }] });
  // Begun after it was chosen.
  const chosen = { id, name: 'drill', dataset_id: GONE, created_at: OLD, status: 'PENDING' } as const;
  expect(await purgeWorkflow(fleet.engine, chosen, 'test')).toMatchObject({ outcome: 'kept' });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
});

test('a failed workflow leaves no job behind in the queue', async () => {
  const fleet = await setUp();
  await fleet.worker();
  const id = await fleet.start({ a: { fail: 1, fail_code: 'E_INSPECTION' }, b: {} }, { dataset_id: GONE });
  await fleet.reaches(id, 'FAILURE');
  const jobs = async () => Object.values((await fleet.engine.fleet()).jobs).reduce((a, b) => a + b, 0);
  expect(await jobs()).toBeGreaterThan(0);
  expect(await fleet.engine.delete(id, { actor: 'test', unless_running: true })).toEqual({
    deleted_count: 1,
  });
  expect(await jobs()).toBe(0);
});

describe('a catalog that names nothing', () => {
  test('an empty catalog purges nothing, and says so; one whose datasets are all deleted is not empty', async () => {
    const { add, purge, ids, place } = await setUp();
    await add();
    const database = new DatabaseSync(place.config.catalog.path);
    database.exec('update datasets set is_deleted = 1');
    expect((await purge()).code).toBe(0);
    expect(await ids()).toEqual([]);
    const id = await add();
    database.exec('delete from datasets');
    database.close();
    const { code, stderr } = await purge();
    expect({ code, stderr }).toMatchObject({
      code: 5,
      stderr: expect.stringContaining('nothing was purged'),
    });
    expect(await ids()).toEqual([id]);
  });

  test('the list of an API decides where there is one; an empty list is refused', async () => {
    const { add, store } = await setUp();
    const named = await add();
    const stale = await add();
    const query = {
      app_id: 'longshore-test',
      types: ['integrated'],
      created_before: new Date().toISOString(),
      max: 9,
    };
    const withApi = (ids: string[]) => ({
      ...store,
      catalog: { ...store.catalog, namedWorkflows: async () => ids },
    });
    const found = await findStale(withApi([named, 'unknown']), query);
    expect(found.chosen.map(({ id }) => id)).toEqual([stale]);
    await expect(findStale(withApi([]), query)).rejects.toMatchObject({ code: 'E_CATALOG_UNAVAILABLE' });
  });
});

test('a catalog that goes away in the middle does not make a workflow stale', async () => {
  const { add, store } = await setUp();
  await add();
  const away = new LongshoreError('E_CATALOG_UNAVAILABLE', 'it went away');
  const catalog = { ...store.catalog, get: () => Promise.reject(away) };
  const created_before = new Date().toISOString();
  const query = { app_id: 'longshore-test', types: ['integrated'], created_before, max: 9 };
  await expect(findStale({ ...store, catalog }, query)).rejects.toBe(away);
});

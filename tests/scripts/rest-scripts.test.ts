/** The scripts behind the facility's REST API. */
import { randomUUID } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { makeWorkflow } from '../records/workflow.ts';
import { startBioloopApi } from '../support/bioloop-api.ts';
import { makePlace } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';
import { runScript } from '../support/script.ts';

async function setUp() {
  const double = await startBioloopApi();
  const place = await makePlace({
    ...restOverrides(double),
    metrics: { quota: null, lustre: [], df: ['/'] },
  });
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  return { double, place, store };
}

test('metrics reach the API in one POST, in the shape that its front end reads', async () => {
  const { double, place } = await setUp();
  expect((await runScript('metrics.ts', ['--dry-run'], place.env)).code).toBe(0);
  expect(double.called('POST metrics')).toHaveLength(0);
  expect((await runScript('metrics.ts', [], place.env)).code).toBe(0);
  const [call, ...others] = double.called('POST metrics');
  expect(others).toEqual([]);
  expect(call?.body).toContainEqual({
    measurement: '/',
    subject: expect.any(String),
    usage: expect.any(Number),
    limit: expect.any(Number),
    tags: [],
  });
});

test('workflows that the API names, or is yet to hear of, are kept; an empty list from it purges nothing', async () => {
  const { double, place, store } = await setUp();
  const [answer] = await store.catalog.register(
    [
      {
        dataset: { name: 'run_1', type: 'RAW_DATA', origin_path: place.dir('origin'), create_method: 'SCAN' },
        workflow: (dataset_id) => makeWorkflow({ dataset_id, created_at: '2020-01-01T00:00:00.000Z' }),
      },
    ],
    'test',
  );
  const named = answer?.outcome === 'created' ? answer.workflow_id : null;
  expect([...double.store.workflows.keys()]).toEqual([named]);
  const stale = makeWorkflow({ id: randomUUID(), dataset_id: null, created_at: '2020-01-01T00:00:00.000Z' });
  await store.records.createWorkflow(stale);
  const purge = () => runScript('purge_stale_workflows.ts', ['--json'], place.env);

  double.fail('GET workflows/current', { kind: 'answer', body: [] });
  expect(await purge()).toMatchObject({ code: 5, stdout: expect.stringContaining('nothing was purged') });
  double.heal();
  double.fail('GET workflows/current', { kind: 'status', status: 500 });
  expect((await purge()).code).not.toBe(0);
  expect((await store.records.listWorkflows({})).total).toBe(2);
  double.heal();
  expect(JSON.parse((await purge()).stdout)).toMatchObject({
    workflows: [{ id: stale.id, outcome: 'purged' }],
  });
  expect(await store.records.workflow(named as string)).not.toBeNull();

  // The API is down while a dataset is processed: its link waits in the spool, and the API names it later.
  double.fail('POST datasets/:id/workflows', { kind: 'status', status: 503 });
  const later = makeWorkflow({ dataset_id: 1, name: 'stage', created_at: '2020-01-01T00:00:00.000Z' });
  await store.records.createWorkflow(later);
  expect(JSON.parse((await purge()).stdout)).toMatchObject({ workflows: [] });
  expect(await store.records.workflow(later.id)).not.toBeNull();
});

test('on demand: a project of the API is kept, one that it does not know registers nothing', async () => {
  const { double, place } = await setUp();
  double.store.projects.set('proj-7', { id: 'proj-7', name: 'P' });
  for (const name of ['one', 'two ']) place.dir('lab data', name);
  const register = (project: string, ...more: string[]) =>
    runScript(
      'register_ondemand.ts',
      [
        place.path('lab data'),
        '--dataset-type',
        'RAW_DATA',
        '--ingest-subdirs',
        '--project-id',
        project,
        ...more,
      ],
      place.env,
    );
  for (const more of [[], ['--dry-run']]) {
    const refused = await register('proj-8', '--json', ...more);
    expect(refused.code).toBe(3);
    expect(JSON.parse(refused.stdout)).toMatchObject({
      error: { code: 'E_PROJECT_NOT_FOUND', fields: { project_id: 'proj-8' } },
    });
  }
  expect(await register('proj-7', '--dry-run')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('2 would create'),
  });
  expect([...double.store.datasets.values()]).toEqual([]);
  expect(double.store.workflows.size).toBe(0);

  expect(await register('proj-7')).toMatchObject({ code: 0, stdout: expect.stringContaining('2 created') });
  const datasets = [...double.store.datasets.values()];
  expect(datasets.map(({ origin_path, project_ids }) => [origin_path, project_ids])).toEqual([
    [place.path('lab data/one'), ['proj-7']],
    [place.path('lab data/two '), ['proj-7']],
  ]);
  expect(datasets.map(({ id }) => double.store.linked(id).length)).toEqual([1, 1]);
});

import { describe, expect, onTestFinished, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { openRest } from '../../workers/store-rest.ts';
import { openSqliteCompany } from '../../workers/store-sqlite.ts';
import { createRegistrar, type Registrar } from '../../workers/watch/registration.ts';
import { makeWorkflow, startProcess } from '../records/fixture.ts';
import { type BioloopApi, startBioloopApi } from '../support/bioloop-api.ts';
import { makePlace, type Place } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';
import { until } from '../support/until.ts';

interface Bench extends Store {
  readonly double: BioloopApi;
  readonly place: Place;
  readonly registrar: Registrar;
  readonly queued: string[];
}

async function begin(): Promise<Bench> {
  const double = await startBioloopApi();
  const place = await makePlace(restOverrides(double));
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const queued: string[] = [];
  const registrar = createRegistrar({
    config: place.config,
    catalog: store.catalog,
    enqueue: async (id) => queued.push(id),
    log: createLogger('test'),
  });
  return { ...store, double, place, registrar, queued };
}

const setOf = (name: string, more: object = {}) => ({
  name,
  type: 'RAW_DATA',
  origin_path: `/origin/${name}`,
  create_method: 'SCAN' as const,
  ...more,
});
const scan = { workflow: 'integrated', actor: 'watch' };
const outcomesOf = (outcomes: { outcome: string }[]): string[] => outcomes.map(({ outcome }) => outcome);

/** What a scan must have brought about, whatever happened on the way: one dataset, one workflow, known to both sides. */
async function expectOneWorkflowEach({ double, records }: Bench, names: readonly string[]): Promise<void> {
  const alive = [...double.store.datasets.values()];
  expect(alive.map(({ name }) => name).toSorted()).toEqual([...names].toSorted());
  for (const { id } of alive) {
    const linked = await until(() => (double.store.linked(id).length > 0 ? double.store.linked(id) : null));
    const { results } = await records.listWorkflows({ dataset_id: id });
    expect(linked).toEqual(results.map(({ workflow }) => workflow.id));
    expect(linked).toHaveLength(1);
  }
}

describe('registration', () => {
  test('one that the API finds invalid costs the others of its batch nothing, and is told as its own error', async () => {
    const bench = await begin();
    const names = Array.from({ length: 9 }, (_, n) => `set-${n}`);
    const sets = names.map((name, at) => setOf(name, at === 5 ? { type: 'NOT_OF_THE_API' } : {}));
    const outcomes = await bench.registrar.register(sets, scan);
    expect(outcomesOf(outcomes)).toEqual(names.map((_, at) => (at === 5 ? 'failed' : 'created')));
    expect(outcomes[5]).toMatchObject({ error: { code: 'E_API_REQUEST' } });
    await expectOneWorkflowEach(bench, names.toSpliced(5, 1));
  });

  test('250 folders are three posts, in the shape of the reference, and each has its workflow', async () => {
    const bench = await begin();
    const names = Array.from({ length: 250 }, (_, n) => `set-${n}`);
    const outcomes = await bench.registrar.register(
      names.map((name) => setOf(name)),
      scan,
    );
    expect(new Set(outcomesOf(outcomes))).toEqual(new Set(['created']));
    const posts = bench.double
      .called('POST datasets/bulk')
      .map(({ body }) => body as { datasets: unknown[] });
    expect(posts.map(({ datasets }) => datasets.length)).toEqual([100, 100, 50]);
    expect(posts[0]?.datasets[0]).toEqual({
      name: 'set-0',
      type: 'RAW_DATA',
      origin_path: '/origin/set-0',
      create_method: 'SCAN',
    });
    await expectOneWorkflowEach(bench, names);
    expect(bench.queued).toHaveLength(250);
  });

  test('more than the API takes at once is told in parts, each of them once', async () => {
    const { catalog, double } = await begin();
    const names = Array.from({ length: 150 }, (_, n) => `set-${n}`);
    const outcomes = await catalog.register(
      names.map((name) => ({ dataset: setOf(name) })),
      'x',
    );
    expect(outcomes.map((one) => one.outcome === 'created' && one.dataset.name)).toEqual(names);
    const told = double
      .called('POST datasets/bulk')
      .flatMap(({ body }) => (body as { datasets: { name: string }[] }).datasets.map(({ name }) => name));
    expect(told).toEqual(names);
  });

  test('a workflow that the API has not heard of is linked by the next scan', async () => {
    const bench = await begin();
    await bench.registrar.register([setOf('a')], scan);
    await expectOneWorkflowEach(bench, ['a']);
    bench.double.store.workflows.clear();
    expect(outcomesOf(await bench.registrar.register([setOf('a')], scan))).toEqual(['present']);
    await expectOneWorkflowEach(bench, ['a']);
  });

  test('of a dataset that could not be recorded here the API is told no workflow', async () => {
    const double = await startBioloopApi();
    const place = await makePlace(restOverrides(double));
    const own = await openSqliteCompany(place.config);
    const full = () => Promise.reject(new LongshoreError('E_NO_SPACE', 'the disk is full'));
    const companion = { ...own.companion, mirror: { ...own.companion.mirror, adopt: full } };
    const store = await openRest(place.config, { ...own, companion });
    onTestFinished(() => store.close());
    const workflow = (dataset_id: number) => makeWorkflow({ dataset_id });
    const outcomes = await store.catalog.register([{ dataset: setOf('a'), workflow }], 'x');
    expect(outcomes).toMatchObject([{ outcome: 'errored', error: { code: 'E_NO_SPACE' } }]);
    const [made] = double.store.datasets.values();
    expect(double.store.linked(made?.id ?? 0)).toEqual([]);
    expect(await store.catalog.spool.waiting()).toBe(0);
  });

  test('scanning again registers nothing, also under a name that the API has normalised', async () => {
    const bench = await begin();
    expect(outcomesOf(await bench.registrar.register([setOf('run 7 (a)')], scan))).toEqual(['created']);
    expect(outcomesOf(await bench.registrar.register([setOf('run 7 (a)')], scan))).toEqual(['present']);
    // The API finds this one too, though it is another: case is ignored there, and the key of the table does not.
    expect(outcomesOf(await bench.registrar.register([setOf('RUN 7 (a)')], scan))).toEqual(['created']);
    expect(outcomesOf(await bench.registrar.register([setOf('run-7-a-')], scan))).toEqual(['taken']);
    for (const name of ['run 7 (a)', 'RUN 7 (a)'])
      expect(outcomesOf(await bench.registrar.register([setOf(name)], scan))).toEqual(['present']);
    await expectOneWorkflowEach(bench, ['run-7-a-', 'RUN-7-a-']);
  });

  test('of folders that have had their workflow for long the API is not asked one by one', async () => {
    const bench = await begin();
    await bench.registrar.register([setOf('old'), setOf('new')], scan);
    const old = [...bench.double.store.datasets.values()].find(({ name }) => name === 'old');
    Object.assign(old ?? {}, { created_at: '2026-01-01T00:00:00.000Z' });
    await bench.catalog.get(old?.id ?? 0);
    const before = bench.double.calls.length;
    const outcomes = await bench.registrar.register([setOf('old')], scan);
    expect(outcomesOf(outcomes)).toEqual(['present']);
    expect(bench.double.calls.slice(before).map(({ path }) => path)).toEqual(['datasets/bulk']);
    // Another folder that comes to this name is told apart.
    const other = await bench.registrar.register([setOf('old', { origin_path: '/elsewhere/old' })], scan);
    expect(outcomesOf(other)).toEqual(['taken']);
    // And the one that was moved there since, which nobody has told us.
    Object.assign(old ?? {}, { origin_path: '/elsewhere/old' });
    const moved = await bench.registrar.register([setOf('old', { origin_path: '/elsewhere/old' })], scan);
    expect(outcomesOf(moved)).toEqual(['present']);
  });

  test('a project that the API does not know has nothing registered for it', async () => {
    const bench = await begin();
    const outcomes = await bench.registrar.register(
      [setOf('a', { project_id: 'unknown' }), setOf('b')],
      scan,
    );
    expect(outcomes).toMatchObject([
      { outcome: 'failed', error: { code: 'E_PROJECT_NOT_FOUND', fields: { project_id: 'unknown' } } },
      { outcome: 'created' },
    ]);
    await expectOneWorkflowEach(bench, ['b']);
    expect(bench.queued).toHaveLength(1);
  });

  test.each([
    ['no fault', null],
    ['an answer that is lost', ['POST datasets', { kind: 'commit-then-drop' }]],
    ['one who dies before the path is put right', ['PATCH', { kind: 'status', status: 500 }]],
  ] as const)('a folder that ends in a blank keeps it, with %s', async (_, fault) => {
    const bench = await begin();
    bench.double.store.projects.set('p1', { id: 'p1', name: 'P' });
    const folder = setOf('run 7 ', { project_id: 'p1' });
    if (fault !== null) bench.double.fail(fault[0], fault[1], 1);
    const [first] = await bench.registrar.register([folder], scan);
    if (first?.outcome === 'failed') {
      // Nothing works on the wrong folder meanwhile.
      expect(bench.queued).toEqual([]);
      expect(bench.double.store.workflows.size).toBe(0);
      expect(outcomesOf(await bench.registrar.register([folder], scan))).toEqual(['completed']);
    }
    expect(outcomesOf(await bench.registrar.register([folder], scan))).toEqual(['present']);
    const [dataset] = [...bench.double.store.datasets.values()];
    expect(dataset).toMatchObject({ origin_path: '/origin/run 7 ', project_ids: ['p1'] });
    expect((await bench.catalog.get(dataset?.id ?? 0)).origin_path).toBe('/origin/run 7 ');
    await expectOneWorkflowEach(bench, ['run-7-']);
  });

  test('where the API cannot keep such a path, nothing is queued', async () => {
    const bench = await begin();
    bench.double.store.projects.set('p1', { id: 'p1', name: 'P' });
    const trimmed = { id: 1, name: 'run-7-', type: 'RAW_DATA', origin_path: '/origin/run 7' };
    bench.double.fail('PATCH', { kind: 'answer', body: trimmed });
    const outcomes = await bench.registrar.register([setOf('run 7 ', { project_id: 'p1' })], scan);
    expect(outcomes).toMatchObject([{ outcome: 'failed', error: { code: 'E_VALUE' } }]);
    expect(bench.queued).toEqual([]);
    expect(bench.double.store.workflows.size).toBe(0);
  });

  test('a project is not dropped', async () => {
    const bench = await begin();
    bench.double.store.projects.set('p1', { id: 'p1', name: 'P' });
    await bench.registrar.register([setOf('a', { project_id: 'p1' }), setOf('b')], scan);
    const projects = [...bench.double.store.datasets.values()].map((one) => [one.name, one.project_ids]);
    expect(Object.fromEntries(projects)).toEqual({ a: ['p1'], b: [] });
  });

  test.each([
    ['POST datasets/bulk', { kind: 'commit-then-drop' }],
    ['POST datasets/bulk', { kind: 'commit-then-status', status: 502 }],
    ['POST datasets/bulk', { kind: 'drop' }],
    ['POST datasets/:id/workflows', { kind: 'commit-then-drop' }],
    ['POST datasets/:id/workflows', { kind: 'status', status: 503 }],
    ['GET', { kind: 'status', status: 503 }],
  ] as const)('a fault of %s (%o) leaves one dataset and one workflow', async (calls, fault) => {
    const bench = await begin();
    bench.double.fail(calls, fault, 3);
    for (let turn = 0; turn < 3; turn++) {
      await bench.registrar.register([setOf('a'), setOf('b')], scan).catch(() => undefined);
      bench.double.heal();
    }
    await expectOneWorkflowEach(bench, ['a', 'b']);
  });

  test('while the API is away a scan fails as such, and the next one registers everything', async () => {
    const bench = await begin();
    bench.double.fail('', { kind: 'status', status: 503 });
    await expect(bench.registrar.register([setOf('a')], scan)).rejects.toMatchObject({
      code: 'E_API_UNAVAILABLE',
      class: 'retryable',
    });
    bench.double.heal();
    expect(outcomesOf(await bench.registrar.register([setOf('a')], scan))).toEqual(['created']);
    await expectOneWorkflowEach(bench, ['a']);
  });

  test('a dataset that was left without a workflow gets one, and never a second one', async () => {
    const bench = await begin();
    bench.double.store.create(setOf('left'), true);
    expect(outcomesOf(await bench.registrar.register([setOf('left')], scan))).toEqual(['completed']);
    await expectOneWorkflowEach(bench, ['left']);
    expect(outcomesOf(await bench.registrar.register([setOf('left')], scan))).toEqual(['present']);
    await expectOneWorkflowEach(bench, ['left']);
  });

  test('a dataset whose workflow was started by others keeps to that one, also while the workflow server is away', async () => {
    const bench = await begin();
    const { id } = bench.double.store.create(setOf('theirs'), true);
    bench.double.store.link('their-workflow', id);
    bench.double.behaviour.workflowServer = false;
    expect(outcomesOf(await bench.registrar.register([setOf('theirs')], scan))).toEqual(['present']);
    const workflow = { ...makeWorkflow({ dataset_id: id }), name: 'integrated' };
    await expect(bench.catalog.attachWorkflow(id, workflow)).rejects.toMatchObject({ code: 'E_API_FAILED' });
    bench.double.behaviour.workflowServer = true;
    bench.double.behaviour.served.set('their-workflow', {
      id: 'their-workflow',
      name: 'integrated',
      status: 'SUCCESS',
    });
    expect(await bench.catalog.attachWorkflow(id, workflow)).toBe(false);
    // It was staged often since: a page of the list has ten.
    for (const stage of Array.from({ length: 10 }, (_, n) => `stage-${n}`)) {
      bench.double.store.link(stage, id);
      bench.double.behaviour.served.set(stage, { id: stage, name: 'stage', status: 'SUCCESS' });
    }
    expect(await bench.catalog.attachWorkflow(id, workflow)).toBe(false);
    expect(await bench.records.workflow(workflow.id)).toBeNull();
  });

  test.each([1, 2, 3])('kill -9 of a registrar is repaired by the next scan (%i)', async () => {
    const bench = await begin();
    const doomed = startProcess(bench.place, 'register-until-killed');
    await until(() => doomed.lines.length >= 10);
    doomed.child.kill('SIGKILL');
    await doomed.ended;
    const names = [...bench.double.store.datasets.values()].map(({ name }) => name);
    expect(names.length).toBeGreaterThanOrEqual(10);
    const items = names.map((name) => ({ ...setOf(name), origin_path: '/origin/set' }));
    const outcomes = await bench.registrar.register(items, scan);
    expect(outcomesOf(outcomes).filter((outcome) => outcome === 'completed').length).toBeLessThanOrEqual(1);
    await expectOneWorkflowEach(bench, names);
  });

  test('a workflow that is started later is linked when the API has not done so itself', async () => {
    const bench = await begin();
    await bench.registrar.register([setOf('a')], { ...scan, workflow: null });
    const { id } = (await bench.catalog.list({})).datasets[0] as { id: number };
    const [ours, theirs] = [makeWorkflow({ dataset_id: id }), makeWorkflow({ dataset_id: id })];
    await bench.records.createWorkflow(theirs);
    bench.double.store.link(theirs.id, id);
    await bench.records.createWorkflow(ours);
    await until(() => bench.double.store.linked(id).includes(ours.id));
    expect(bench.double.store.linked(id)).toEqual([theirs.id, ours.id]);
    expect((await bench.catalog.get(id, { workflows: true })).workflows).toHaveLength(2);
  });
});

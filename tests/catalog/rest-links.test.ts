/** Links of workflows that were not registered with their dataset. */
import { expect, onTestFinished, test } from 'vitest';
import type { RestCatalog } from '../../workers/catalog/rest/catalog.ts';
import type { Spool } from '../../workers/catalog/rest/spool.ts';
import type { Finish, WorkflowDocument } from '../../workers/records/contract.ts';
import { openRest, type RestStore } from '../../workers/store-rest.ts';
import { openSqliteCompany } from '../../workers/store-sqlite.ts';
import { findStale } from '../../scripts/purge/workflows.ts';
import { begin as claimed, makeWorkflow } from '../records/fixture.ts';
import { type BioloopApi, startBioloopApi } from '../support/bioloop-api.ts';
import { makePlace } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';
import { until } from '../support/until.ts';
import { created } from './contract-datasets.ts';
import { makeRegistration } from './registration.ts';

type Finishing = (finish: () => Promise<unknown>) => Promise<unknown>;

interface Bench {
  readonly double: BioloopApi;
  readonly store: RestStore;
  readonly catalog: RestCatalog;
  readonly dataset_id: number;
  readonly landing: WorkflowDocument;
  readonly follower: WorkflowDocument;
}

/** A dataset whose workflow of two steps is followed by another. `finishing`: around each record of an end. */
async function begin(
  finishing: Finishing = (finish) => finish(),
  spoolOf: (spool: Spool) => Spool = (spool) => spool,
): Promise<Bench> {
  const double = await startBioloopApi();
  const place = await makePlace(restOverrides(double));
  const own = await openSqliteCompany(place.config);
  const finish: typeof own.records.finish = (key, what) =>
    finishing(() => own.records.finish(key, what)) as ReturnType<typeof own.records.finish>;
  const store = await openRest(place.config, {
    ...own,
    records: { ...own.records, finish },
    spool: spoolOf(own.spool),
  });
  onTestFinished(() => store.close());
  let landing = makeWorkflow();
  const steps = [{ name: 'first' }, { name: 'last' }];
  const [outcome] = await store.catalog.register(
    [{ ...makeRegistration({}), workflow: (id) => (landing = makeWorkflow({ dataset_id: id, steps })) }],
    'x',
  );
  const dataset_id = created(outcome).id;
  const follower = makeWorkflow({ dataset_id, name: 'qc', created_at: '2020-01-01T00:00:00.000Z' });
  return { double, store, catalog: store.catalog, dataset_id, landing, follower };
}

const success = (then: WorkflowDocument): Finish => ({ outcome: 'success', result: [1], then: [then] });

/** Each step of the landing, as a worker tells of it. */
async function land({ store: { records }, landing, follower }: Bench): Promise<void> {
  for (const index of landing.steps.keys()) {
    const { key } = await claimed(records, landing, index);
    await records.finish(key, success(follower));
  }
}

const told = ({ catalog }: Bench) =>
  until(async () => (await catalog.spool.waiting()) === 0, { what: 'the spool to be empty' });

test('a workflow that follows another is linked once, with its processes, and is not stale', async () => {
  const bench = await begin();
  const { double, store, dataset_id, landing, follower } = bench;
  await land(bench);
  const query = {
    app_id: follower.app_id ?? '',
    types: ['qc'],
    created_before: '2021-01-01T00:00:00.000Z',
    max: 9,
  };
  // Also before the API has heard of it.
  expect(await findStale(store, query)).toEqual({ chosen: [], left: 0, running: [] });
  await store.records.registerProcess({
    workflow_id: follower.id,
    step: 'qc',
    task_id: crypto.randomUUID(),
    pid: 7,
    hostname: 'node-1',
    start_time: new Date().toISOString(),
    tags: { args: ['fastqc'] },
  });
  await told(bench);
  expect(double.store.linked(dataset_id)).toEqual([landing.id, follower.id]);
  expect([...double.store.processes.values()]).toMatchObject([{ workflow_id: follower.id }]);
  expect(await findStale(store, query)).toEqual({ chosen: [], left: 0, running: [] });
  expect(double.called('POST datasets/:id/workflows')).toHaveLength(2);
});

test('before its last step has ended no workflow follows, and none is linked', async () => {
  const bench = await begin();
  const { key } = await claimed(bench.store.records, bench.landing);
  await bench.store.records.finish(key, success(bench.follower));
  expect(await bench.catalog.spool.waiting()).toBe(0);
  expect(bench.double.store.linked(bench.dataset_id)).toEqual([bench.landing.id]);
});

test('one who dies as soon as the end is recorded leaves a workflow that the API hears of', async () => {
  const bench = await begin(async (finish) => {
    const finished = await finish();
    if ((finished as { next: unknown } | null)?.next === null) throw new Error('died');
    return finished;
  });
  await expect(land(bench)).rejects.toThrow('died');
  await told(bench);
  expect(bench.double.store.linked(bench.dataset_id)).toEqual([bench.landing.id, bench.follower.id]);
});

test('one who dies before leaves no link of a workflow that was never recorded', async () => {
  const bench = await begin(async () => Promise.reject(new Error('died')));
  await expect(land(bench)).rejects.toThrow('died');
  expect(await bench.catalog.spool.waiting()).toBe(1);
  await told(bench);
  expect(await bench.catalog.spool.allRefused()).toEqual([]);
  expect(bench.double.store.linked(bench.dataset_id)).toEqual([bench.landing.id]);
});

test('of two that may not be started beside each other only the one that was is linked', async () => {
  const bench = await begin();
  const { records } = bench.store;
  expect(await records.createWorkflow(bench.follower, { alone: true })).toMatchObject({
    id: bench.landing.id,
  });
  expect(await bench.catalog.spool.waiting()).toBe(0);
});

test('a workflow that the API has of another dataset is not taken for linked', async () => {
  const bench = await begin();
  const [other] = await bench.catalog.register([makeRegistration({ name: 'other' })], 'x');
  bench.double.store.link(bench.follower.id, created(other).id);
  await bench.store.records.createWorkflow(bench.follower);
  await told(bench);
  expect(await bench.catalog.spool.allRefused()).toMatchObject([
    { kind: 'link', error: expect.stringMatching(/^E_API_CONFLICT/) as string },
  ]);
});

test('a link that is told while it is asked who names a workflow is not missed', async () => {
  const bench = await begin(undefined, (spool) => ({
    ...spool,
    bodiesOf: async (kind) => {
      await until(async () => (await spool.waiting()) === 0, { what: 'the link to be told meanwhile' });
      return spool.bodiesOf(kind);
    },
  }));
  await land(bench);
  expect(await bench.catalog.namedWorkflows?.()).toContain(bench.follower.id);
});

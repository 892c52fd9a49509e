import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { RegisterOutcome } from '../../workers/catalog/contract.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { type OpenStore, openBench, startProcess, times } from '../records/fixture.ts';
import { makeWorkflow } from '../records/workflow.ts';
import { makeRegistration } from './registration.ts';

export function created(outcome: RegisterOutcome | undefined): Dataset {
  if (outcome?.outcome !== 'created') throw new Error(`expected created, got ${JSON.stringify(outcome)}`);
  return outcome.dataset;
}

/** Registration: one unit per item, once per name and type. */
export function registrationBattery(open: OpenStore): void {
  test('a registration records dataset, state, workflow and audit together', async () => {
    const { catalog, records } = await openBench(open);
    const [outcome] = await catalog.register(
      [
        makeRegistration({
          name: 'run 7 (a)',
          origin_path: '/o/run 7 (a)',
          description: 'd',
          project_id: 'p',
          metadata: { a: 1 },
        }),
      ],
      'watch',
    );
    const dataset = created(outcome);
    expect(dataset).toMatchObject({
      name: 'run-7-a-',
      type: 'RAW_DATA',
      origin_path: '/o/run 7 (a)',
      create_method: 'TEST',
      description: 'd',
      project_id: 'p',
      metadata: { a: 1 },
      is_deleted: false,
      is_staged: false,
      size: null,
      bundle: null,
    });
    expect(dataset.states?.map(({ state }) => state)).toEqual(['REGISTERED']);
    const workflow = await records.workflow(dataset.workflows?.[0]?.id ?? '');
    expect(workflow).toMatchObject({ dataset_id: dataset.id, args: [dataset.id], _status: 'PENDING' });
    expect(outcome).toMatchObject({ workflow_id: workflow?.id });
    expect(await records.auditLog({ subject: `dataset:${dataset.id}` })).toMatchObject([
      {
        actor: 'watch',
        action: 'dataset.register',
        details: { name: 'run-7-a-', workflow_id: workflow?.id },
      },
    ]);
  });

  test('in one batch the good are created, the taken conflict with who has them, the bad are named', async () => {
    const { catalog, records } = await openBench(open);
    const first = created((await catalog.register([makeRegistration({ name: 'a' })], 'x'))[0]);
    const outcomes = await catalog.register(
      [
        makeRegistration({ name: 'a', origin_path: '/elsewhere' }),
        makeRegistration({ name: 'a', type: 'DATA_PRODUCT' }),
        makeRegistration({ name: '///' }),
        {
          ...makeRegistration({ name: 'thrower' }),
          workflow: () => {
            throw new Error('no such workflow');
          },
        },
        makeRegistration({ name: 'b\uD800', origin_path: '/o/b\uD800' }),
        { dataset: makeRegistration({ name: 'plain' }).dataset },
      ],
      'x',
    );
    expect(outcomes.map(({ outcome }) => outcome)).toEqual([
      'conflicted',
      'created',
      'errored',
      'errored',
      'errored',
      'created',
    ]);
    expect(outcomes[0]).toMatchObject({
      dataset: { id: first.id, origin_path: '/origin/set', workflows: first.workflows },
    });
    expect(outcomes[2]).toMatchObject({ name: '-', error: { code: 'E_NAME_UNSAFE' } });
    expect(outcomes[3]).toMatchObject({ name: 'thrower', error: { message: 'no such workflow' } });
    expect(outcomes[4]).toMatchObject({ error: { code: 'E_NAME_UNSAFE' } });
    expect(outcomes[5]).toMatchObject({ workflow_id: null, dataset: { workflows: [] } });
    expect((await catalog.list({})).datasets.map(({ name }) => name).sort()).toEqual(['a', 'a', 'plain']);
    expect((await records.listWorkflows({})).total).toBe(2);
  });

  test('of two of one name in one batch the first is created, and the other conflicts with it', async () => {
    const { catalog, records } = await openBench(open);
    const [first, second] = await catalog.register([makeRegistration(), makeRegistration()], 'x');
    const { id, workflows } = created(first);
    expect(second).toMatchObject({ outcome: 'conflicted', dataset: { id, workflows } });
    expect((await records.listWorkflows({})).total).toBe(1);
  });

  test('four processes that register the same 50 names make 50 datasets with one workflow each', async () => {
    const { catalog, records, place } = await openBench(open);
    const names = times(open, 50, 0.2);
    const watchers = [1, 2, 3, 4].map((n) => startProcess(place, 'register', `${names}`, `watch-${n}`));
    expect(await Promise.all(watchers.map(({ ended }) => ended))).toEqual([0, 0, 0, 0]);
    const outcomes = watchers.flatMap(({ lines }) => lines);
    expect(outcomes.filter((outcome) => outcome === 'created')).toHaveLength(names);
    expect(outcomes.filter((outcome) => outcome === 'conflicted')).toHaveLength(3 * names);
    expect((await catalog.list({})).count).toBe(names);
    expect((await records.listWorkflows({})).total).toBe(names);
  });

  test('the name of a deleted dataset is free again, and its id is not used again', async () => {
    const { catalog } = await openBench(open);
    const first = created((await catalog.register([makeRegistration()], 'x'))[0]);
    await catalog.patch(first.id, { is_deleted: true });
    const second = created((await catalog.register([makeRegistration()], 'x'))[0]);
    expect(second.id).toBeGreaterThan(first.id);
    expect((await catalog.patch(first.id, { description: 'was replaced' })).name).toBe(second.name);
    await expect(catalog.patch(first.id, { is_deleted: false })).rejects.toMatchObject({
      code: 'E_DATASET_EXISTS',
      fields: { taken_by: second.id },
    });
  });

  test('a workflow is attached once per name, also when two ask at the same time', async () => {
    const { catalog, records, again } = await openBench(open);
    const other = (await again()).catalog;
    const [outcome] = await catalog.register([{ dataset: makeRegistration().dataset }], 'x');
    const { id } = created(outcome);
    const answers = await Promise.all([
      catalog.attachWorkflow(id, makeWorkflow()),
      other.attachWorkflow(id, makeWorkflow()),
    ]);
    expect(answers.toSorted()).toEqual([false, true]);
    expect(await catalog.attachWorkflow(id, makeWorkflow({ name: 'qc' }))).toBe(true);
    expect((await records.listWorkflows({ dataset_id: id })).total).toBe(2);
    expect((await catalog.get(id, { workflows: true })).workflows).toHaveLength(2);
    await expect(catalog.attachWorkflow(999, makeWorkflow())).rejects.toMatchObject({
      code: 'E_DATASET_NOT_FOUND',
    });
    await catalog.patch(id, { is_deleted: true });
    await expect(catalog.attachWorkflow(id, makeWorkflow({ name: 'x' }))).rejects.toMatchObject({
      code: 'E_DATASET_DELETED',
    });
  });
}

/** Reading and changing what is recorded. */
export function datasetBattery(open: OpenStore): void {
  test('a patch changes what it names, merges metadata deeply and moves updated_at', async () => {
    const { catalog } = await openBench(open);
    const metadata = { keep: 1, deep: { a: 1, list: [1, 2] } };
    const before = created((await catalog.register([makeRegistration({ metadata })], 'x'))[0]);
    const after = await catalog.patch(before.id, {
      size: Number.MAX_SAFE_INTEGER,
      num_files: 0,
      archive_path: '/archive/set.tar',
      metadata: { stage_alias: 'ff', deep: { b: 2, list: [3] }, keep: undefined },
    });
    expect(after.metadata).toEqual({ keep: 1, stage_alias: 'ff', deep: { a: 1, b: 2, list: [3] } });
    expect(after).toMatchObject({
      size: 9_007_199_254_740_991,
      num_files: 0,
      du_size: null,
      archive_path: '/archive/set.tar',
      name: 'set',
      is_staged: false,
    });
    expect(after.updated_at >= before.updated_at).toBe(true);
    expect(await catalog.get(before.id, { bundle: true, states: true, workflows: true })).toEqual(after);
    expect((await catalog.patch(before.id, { archive_path: null, is_staged: true })).archive_path).toBeNull();
  });

  test('a size beyond 2^53 - 1 is kept to the byte, and found so in lists', async () => {
    const { catalog, again } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    const [size, du_size] = [2n ** 53n + 1n, 2n ** 62n + 1n];
    expect(await catalog.patch(id, { size, du_size })).toMatchObject({ size, du_size });
    const other = (await again()).catalog;
    expect(await other.get(id)).toMatchObject({ size, du_size });
    expect((await other.list({})).datasets).toMatchObject([{ id, size, du_size }]);
    await expect(catalog.patch(id, { size: 2n ** 63n })).rejects.toMatchObject({ code: 'E_VALUE' });
    expect(await catalog.patch(id, { size: 7 })).toMatchObject({ size: 7, du_size });
  });

  test('a size that a number cannot hold exactly is refused by name and nothing of the patch is kept', async () => {
    const { catalog } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    for (const size of [2 ** 53, -1, 0.5, Number.NaN]) {
      await expect(catalog.patch(id, { num_files: 3, size })).rejects.toMatchObject({
        code: 'E_VALUE',
        fields: { field: 'size' },
      });
    }
    expect(await catalog.get(id)).toMatchObject({ num_files: null, size: null });
  });

  test('a bundle is put, replaced and removed', async () => {
    const { catalog } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    const bundle = {
      name: 'set.tar',
      size: 10,
      md5: null,
      digests: { blake3: 'aa' },
      verified_at: null,
    };
    expect((await catalog.patch(id, { bundle })).bundle).toEqual(bundle);
    const proven = { ...bundle, verified_at: '2026-01-01T00:00:00.000Z' };
    await catalog.patch(id, { bundle: proven });
    expect((await catalog.get(id, { bundle: true })).bundle).toEqual(proven);
    expect((await catalog.list({})).datasets[0]?.bundle).toEqual(proven);
    expect((await catalog.patch(id, { bundle: null })).bundle).toBeNull();
  });

  test('a dataset that is not there is named by every operation', async () => {
    const { catalog } = await openBench(open);
    const gone = { code: 'E_DATASET_NOT_FOUND', fields: { dataset_id: 5 } };
    await expect(catalog.get(5)).rejects.toMatchObject(gone);
    await expect(catalog.patch(5, {})).rejects.toMatchObject(gone);
    await expect(catalog.addState(5, 'READY')).rejects.toMatchObject(gone);
    await expect(catalog.states(5)).rejects.toMatchObject(gone);
    await expect(catalog.putFiles(5, [], 'g')).rejects.toMatchObject(gone);
    await expect(catalog.files(5, { limit: 1 })).rejects.toMatchObject(gone);
    await expect(catalog.putReport(5, { report_id: 'r', path: '/r' })).rejects.toMatchObject(gone);
  });

  test('metadata hold whatever JSON does', async () => {
    const { catalog } = await openBench(open);
    const metadata = { lists: [[1], [[2]]], 'a.b': { $ref: 'x', $id: 1 }, none: null };
    const { id } = created((await catalog.register([makeRegistration({ metadata })], 'x'))[0]);
    await catalog.patch(id, { metadata: { more: [['x']] } });
    await catalog.addState(id, 'READY', metadata);
    expect((await catalog.get(id)).metadata).toEqual({ ...metadata, more: [['x']] });
    expect((await catalog.states(id))[0]?.metadata).toEqual(metadata);
  });

  test('a list in metadata is replaced whole, whatever it held and whatever comes in its place', async () => {
    const { catalog } = await openBench(open);
    const metadata = {
      deep: { list: ['a', 'b', 'c'] },
      of: [{ a: 1 }, 2],
      gone: [1],
      into: [1, 2],
      keep: [7],
    };
    const { id } = created((await catalog.register([makeRegistration({ metadata })], 'x'))[0]);
    const changes = { deep: { list: ['x'] }, of: [{ b: 2 }], gone: [], into: { k: 1 } };
    expect((await catalog.patch(id, { metadata: changes })).metadata).toEqual({ ...changes, keep: [7] });
    await catalog.patch(id, { metadata: { into: [3] } });
    expect((await catalog.get(id)).metadata).toEqual({ ...changes, into: [3], keep: [7] });
  });

  test('states are kept in order with their metadata, the newest first', async () => {
    const { catalog } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    for (const state of ['READY', 'ARCHIVED', 'FETCHED', 'STAGED'] as const)
      await catalog.addState(id, state, { by: state });
    const states = await catalog.states(id);
    expect(states.map(({ state }) => state)).toEqual([
      'STAGED',
      'FETCHED',
      'ARCHIVED',
      'READY',
      'REGISTERED',
    ]);
    expect(states[0]?.metadata).toEqual({ by: 'STAGED' });
  });

  test('lists filter by every field of the query, whatever the case of the name, newest update first', async () => {
    const { catalog } = await openBench(open);
    const names = ['Alpha', 'alpha_2', 'alphaX2', 'beta', 'gone'];
    const ids: number[] = [];
    for (const name of names) {
      const item = makeRegistration({
        name,
        origin_path: `/o/${name}`,
        type: name === 'beta' ? 'DATA_PRODUCT' : 'RAW_DATA',
      });
      ids.push(created((await catalog.register([item], 'x'))[0]).id);
    }
    await catalog.patch(ids[4] as number, { is_deleted: true });
    await catalog.patch(ids[1] as number, { archive_path: '/a' });
    await catalog.patch(ids[0] as number, { is_staged: true });
    await catalog.patch(ids[2] as number, { is_staged: true });
    await catalog.addState(ids[2] as number, 'STAGED');
    const list = async (query: Parameters<typeof catalog.list>[0]) =>
      (await catalog.list(query)).datasets.map(({ name }) => name).sort();
    expect(await list({})).toEqual(['Alpha', 'alphaX2', 'alpha_2', 'beta']);
    expect(await list({ name: 'ALPHA' })).toEqual(['Alpha', 'alphaX2', 'alpha_2']);
    expect(await list({ name: 'a_2' })).toEqual(['alpha_2']);
    for (const name of ['al.ha', '(', '%']) expect(await list({ name })).toEqual([]);
    expect(await list({ name: 'ALPHA', match_name_exact: true })).toEqual(['Alpha']);
    expect(await list({ type: 'DATA_PRODUCT' })).toEqual(['beta']);
    expect(await list({ deleted: true })).toEqual(['gone']);
    expect(await list({ archived: true })).toEqual(['alpha_2']);
    expect(await list({ archived: false, staged: false })).toEqual(['beta']);
    expect(await list({ origin_path: '/o/beta' })).toEqual(['beta']);
    expect(await list({ days_since_last_staged: 20 })).toEqual(['Alpha']);
    expect(await list({ days_since_last_staged: -1 })).toEqual(['Alpha', 'alphaX2']);
    const page = await catalog.list({ limit: 2, offset: 1 });
    const all = await catalog.list({});
    expect(page.count).toBe(4);
    expect(page.datasets).toEqual(all.datasets.slice(1, 3));
    expect(all.datasets.map(({ updated_at }) => updated_at)).toEqual(
      all.datasets
        .map(({ updated_at }) => updated_at)
        .toSorted()
        .toReversed(),
    );
  });

  test('a report’s place is kept and replaced', async () => {
    const { catalog, place } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    expect(await catalog.report(id)).toBeNull();
    for (const report_id of ['r1', 'r2']) {
      const path = place.path(`${report_id}.html`);
      writeFileSync(path, `<h1>${report_id}</h1>`);
      await catalog.patch(id, { metadata: { report_id } });
      expect(await catalog.putReport(id, { report_id, path })).toEqual({ path });
    }
    expect(await catalog.report(id)).toEqual({ report_id: 'r2', path: place.path('r2.html') });
  });
}

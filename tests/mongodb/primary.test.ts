import { writeFileSync } from 'node:fs';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { FileRow } from '../../workers/dataset/types.ts';
import { openStore } from '../../workers/store.ts';
import { begin, makeWorkflow, runsOnce } from '../records/fixture.ts';
import { makeFleet } from '../support/fleet.ts';
import { describeMongodb, inOwnDatabase, mongoPlace } from '../support/mongodb.ts';
import { until } from '../support/until.ts';
import { type Fate, startReplicaSet } from './replica-set.ts';

async function openSet() {
  const set = await startReplicaSet(inject('mongodb'));
  const place = await mongoPlace({ mongodb: { url: set.url } });
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  return { set, ...store };
}

const row = (path: string, size = 1): FileRow => ({ path, type: 'file', size, md5: null, digests: {} });

describeMongodb('a primary that changes', () => {
  test.each<Fate>(['refused', 'interrupted', 'unreplicated', 'lost', 'rolled back'])(
    'each write is done once when its primary goes at every second one: %s',
    async (fate) => {
      const { set, records, catalog } = await openSet();
      set.fateOf = (_, nth) => (nth % 2 === 1 ? fate : null);
      const workflow = await runsOnce(records);
      const dataset = { name: 'a', type: 'RAW_DATA', origin_path: '/o/a', create_method: 'TEST' as const };
      const [outcome] = await catalog.register(
        [{ dataset, workflow: (dataset_id) => makeWorkflow({ dataset_id }) }],
        'x',
      );
      if (outcome?.outcome !== 'created') throw new Error('expected the dataset to be created');
      const { id } = outcome.dataset;
      await catalog.addState(id, 'READY');
      await catalog.putFiles(id, [row('a'), row('b')], 'g');
      await catalog.putFiles(id, [row('b', 2), row('c'), row('a', 2)], 'h');
      expect((await catalog.files(id, { limit: 9 })).map(({ path, size }) => [path, size])).toEqual([
        ['a', 2],
        ['b', 2],
        ['c', 1],
      ]);
      expect((await catalog.states(id)).map(({ state }) => state)).toEqual(['READY', 'REGISTERED']);
      expect((await records.listWorkflows({})).total).toBe(2);
      expect(await records.auditLog({})).toHaveLength(1);
      const start_time = '2026-01-01T00:00:00Z';
      const process_id = await records.registerProcess({
        workflow_id: workflow.id,
        step: 's',
        task_id: 't',
        pid: 1,
        hostname: 'h',
        start_time,
        tags: { args: [] },
      });
      const line = { timestamp: start_time, level: 'stdout' as const, message: 'once\n' };
      await records.appendLogs(process_id, [line]);
      expect(await records.logs({ process_id })).toHaveLength(1);
      expect(set.changes).toBeGreaterThan(3);
      // The driver itself repeats a write that a primary has not acknowledged, and the set knows it.
      expect(set.kept > 0).toBe(fate === 'unreplicated' || fate === 'lost');
    },
  );

  test('a write that two primaries in turn have done and not acknowledged is done once', async () => {
    const { set, records } = await openSet();
    // What the driver repeats is lost again, with what the set knew of it: it comes as another write.
    set.forgets = true;
    set.fateOf = (_, nth) => (nth % 3 === 0 ? null : 'lost');
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    expect(key.number).toBe(1);
    expect(await records.finish(key, { outcome: 'success', result: [1] })).not.toBeNull();
    const found = await records.workflowWithRuns(workflow.id);
    expect(found?.last_runs[0]).toMatchObject({ status: 'SUCCESS', losses: 0 });
    expect(set.kept).toBe(0);
  });

  test('jobs run through while one primary follows the other: not one fails or is run twice', async () => {
    const set = await startReplicaSet(inject('mongodb'));
    const { mongodb, ...own } = inOwnDatabase();
    const fleet = await makeFleet({ ...own, mongodb: { ...mongodb, url: set.url } });
    await fleet.worker();
    const go = fleet.place.path('go');
    const ids: string[] = [];
    for (let n = 0; n < 4; n++) ids.push(await fleet.start({ one: { until_file: go }, two: {} }));
    await until(() => fleet.events('start').length >= 2, { what: 'two tasks to run' });
    let next = 0;
    const fates: Fate[] = ['refused', 'interrupted', 'unreplicated', 'lost', 'rolled back'];
    set.fateOf = (_, nth) => (nth % 4 === 0 ? (fates[next++ % fates.length] ?? null) : null);
    writeFileSync(go, '');
    for (const id of ids) {
      const done = await fleet.reaches(id, 'SUCCESS');
      for (const step of done.steps) expect(step.last_task_run).toMatchObject({ retries: 0, losses: 0 });
    }
    expect(fleet.events('start')).toHaveLength(8);
    expect(set.changes).toBeGreaterThan(fates.length);
  });
});

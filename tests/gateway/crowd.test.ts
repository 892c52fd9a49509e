/** Many requests at once, and large pages. */
import { rmSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';
import { begin, failure, makeWorkflow, succeed } from '../records/fixture.ts';
import { bodyOf, makeGateway } from './gateway.ts';

const MANY = 100;

test('of a hundred resumes at once one starts a run, of a workflow that failed', async () => {
  const fleet = await makeFleet();
  const { ask } = await makeGateway({ place: fleet.place });
  await fleet.worker();
  const go = fleet.place.path('go');
  writeFileSync(go, '');
  const id = await fleet.start({ one: { fail: 1, fail_code: 'E_NO_SPACE', until_file: go }, two: {} });
  await fleet.reaches(id, 'FAILURE');
  // The step that is resumed is at work until all have asked: between two steps a resume may do something again.
  rmSync(go);
  const answers = await Promise.all(
    Array.from({ length: MANY }, () => ask<{ resumed: boolean }>(`/workflows/${id}/resume`, { json: {} })),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  expect(answers.filter(({ body }) => body.resumed)).toHaveLength(1);
  writeFileSync(go, '');
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.prev_task_runs).toHaveLength(1);
  expect(fleet.events('start', 'one')).toHaveLength(2);
  expect(fleet.events('start', 'two')).toHaveLength(1);
});

test('of a hundred resumes at once one puts back what was missing in the queue', async () => {
  const fleet = await makeFleet({ workflow: { reconcile_seconds: 3600 } });
  const { ask } = await makeGateway({ place: fleet.place });
  // Recorded, and in no queue: whoever did that died in between.
  const workflow = makeWorkflow({
    dataset_id: await fleet.dataset(),
    steps: ['one', 'two'].map((name) => ({
      name,
      task: 'drill',
      queue: `${fleet.place.config.app_id}.q`,
      kwargs: { journal: fleet.journal },
    })),
  });
  await fleet.store.records.createWorkflow(workflow);
  const answers = await Promise.all(
    Array.from({ length: MANY }, () =>
      ask<{ resumed: boolean }>(`/workflows/${workflow.id}/resume`, { json: {} }),
    ),
  );
  expect(answers.filter(({ body }) => body.resumed)).toHaveLength(1);
  await fleet.worker();
  await fleet.reaches(workflow.id, 'SUCCESS');
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['one', 'two']);
});

test('pauses, resumes and deletes of one workflow at once leave it whole or gone', async () => {
  const fleet = await makeFleet();
  const { ask } = await makeGateway({ place: fleet.place });
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  await until(() => fleet.events('start')[0]);
  const url = `/workflows/${id}`;
  const round = (n: number) =>
    n % 2 === 0 ? ask(`${url}/pause`, { method: 'POST' }) : ask(`${url}/resume`, { json: {} });
  const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => round(n)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  writeFileSync(go, '');
  // Whichever came last: a resume goes on, and what has gone on already is left alone.
  await until(
    async () => {
      await ask(`${url}/resume`, { json: {} });
      return (await fleet.engine.show(id)).status === 'SUCCESS';
    },
    { what: 'its end' },
  );
  const gone = await Promise.all(
    Array.from({ length: 20 }, () => ask<{ deleted_count: number }>(url, { method: 'DELETE' })),
  );
  expect(gone.reduce((sum, { body }) => sum + body.deleted_count, 0)).toBe(1);
});

test('a hundred starts at once give a hundred workflows', async () => {
  const { ask, place, store } = await makeGateway();
  const answers = await Promise.all(
    Array.from({ length: MANY }, (_, n) =>
      ask<{ workflow_id: string }>('/workflows', { json: bodyOf(place.config, { args: [n + 1] }) }),
    ),
  );
  expect(new Set(answers.map(({ body }) => body.workflow_id)).size).toBe(MANY);
  expect((await store.records.listWorkflows({})).total).toBe(MANY);
});

test('a page of a thousand workflows with all their runs is served whole', async () => {
  const { ask, store } = await makeGateway();
  for (let n = 0; n < 1000; n++) {
    const workflow = makeWorkflow();
    await store.records.createWorkflow(workflow);
    await succeed(store.records, workflow, n % 4);
    if (n % 4 === 3) continue;
    const { key } = await begin(store.records, workflow, n % 4);
    if (n % 2 === 0) await store.records.finish(key, { outcome: 'failure', error: failure });
  }
  const { status, body } = await ask<{ metadata: object; results: { id: string }[] }>(
    '/workflows?limit=1000&prev_task_runs=true',
  );
  expect(status).toBe(200);
  expect(body.metadata).toEqual({ total: 1000, limit: 1000, skip: 0 });
  expect(new Set(body.results.map(({ id }) => id)).size).toBe(1000);
});

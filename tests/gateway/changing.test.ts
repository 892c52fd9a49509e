import { existsSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { WireWorkflow } from '../../workers/gateway/shapes.ts';
import { makeWorkflow } from '../records/workflow.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';
import { bodyOf, makeGateway, type TestGateway, tokenOf } from './gateway.ts';

async function fleetWithGateway(
  overrides: Record<string, unknown> = {},
): Promise<{ fleet: Fleet; gateway: TestGateway; ask: TestGateway['ask'] }> {
  const fleet = await makeFleet(overrides);
  const gateway = await makeGateway({ place: fleet.place });
  return { fleet, gateway, ask: gateway.ask };
}

const drills = ({ place, journal }: Fleet, steps: Record<string, object>) =>
  bodyOf(place.config, {
    steps: Object.entries(steps).map(([name, kwargs]) => ({
      name,
      task: 'drill',
      queue: `${place.config.app_id}.q`,
      kwargs: { journal, ...kwargs },
    })),
  });

async function create({ ask }: TestGateway, json: object): Promise<string> {
  const { status, body } = await ask<{ workflow_id: string }>('/rhythm/workflows', { json });
  expect(status, JSON.stringify(body)).toBe(200);
  expect(body).toEqual({
    workflow_id: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/) as string,
  });
  return body.workflow_id;
}

test('what is posted is recorded and runs at once: args to the first step, unknown keys of steps dropped', async () => {
  const { fleet, gateway, ask } = await fleetWithGateway();
  await fleet.worker();
  const dataset = await fleet.dataset();
  const { steps, ...body } = drills(fleet, { 'await stability': { mark: 1 }, inspect: {} });
  const [first, second] = steps;
  const id = await create(gateway, {
    ...body,
    args: [dataset],
    steps: [
      { ...first, priority: 9, colour: 'red' },
      { ...second, priority: null },
    ],
  });
  await fleet.reaches(id, 'SUCCESS');
  const [began] = fleet.events('start', 'await stability');
  expect(began?.args).toEqual([dataset]);
  expect(began?.kwargs).toEqual({
    journal: fleet.journal,
    mark: 1,
    workflow_id: id,
    step: 'await stability',
    app_id: fleet.place.config.app_id,
  });
  const document = await fleet.store.records.workflow(id);
  expect(document).toMatchObject({
    name: 'integrated',
    description: 'lands',
    dataset_id: dataset,
    args: [dataset],
    initiator: 'api',
  });
  // Its position, not the 9 that was dropped.
  expect(document?.steps.map(({ priority }) => priority)).toEqual([1, 2]);
  const { body: served } = await ask<WireWorkflow>(`/workflows/${id}`);
  expect(served).toMatchObject({ status: 'SUCCESS', steps_done: 2, total_steps: 2 });
});

test('absent and null kwargs, an absent description and args without a dataset are fine', async () => {
  const gateway = await makeGateway();
  const { config } = gateway.place;
  const step = { task: 'drill', queue: `${config.app_id}.q` };
  const steps = [
    { ...step, name: 'a', kwargs: null },
    { ...step, name: 'b' },
  ];
  for (const args of [[], ['x', { y: [1] }], [-1]]) {
    const { description: _, ...body } = bodyOf(config, { steps, args });
    const id = await create(gateway, body);
    const document = await gateway.store.records.workflow(id);
    expect(document).toMatchObject({ description: null, dataset_id: null, args });
    expect(document?.steps.map(({ kwargs }) => kwargs)).toEqual([{}, {}]);
  }
});

test.each([
  ['no steps', { steps: [] }, 'no steps'],
  [
    'two steps of one name',
    { steps: [0, 1].map(() => ({ name: 'a', task: 't', queue: 'q' })) },
    'used twice',
  ],
  ['a step without a name', { steps: [{ name: '', task: 't', queue: 'q' }] }, 'has no name'],
  ['a step without a task', { steps: [{ name: 'a', task: '', queue: 'q' }] }, 'names no task'],
  ['an empty queue', { steps: [{ name: 'a', task: 't', queue: '' }] }, 'queue'],
  ['an empty name', { name: '' }, 'name is empty'],
  ['an empty app_id', { app_id: '' }, 'app_id is empty'],
])(
  'a workflow with %s is refused with 400 and a message, and nothing is recorded',
  async (_, wrong, message) => {
    const { ask, place, store } = await makeGateway();
    const { status, body } = await ask<{ message: string }>('/workflows', {
      json: bodyOf(place.config, wrong),
    });
    expect(status).toBe(400);
    expect(body).toEqual({ message: expect.stringContaining(message) as string });
    expect((await store.records.listWorkflows({})).total).toBe(0);
  },
);

test('a body that is none is refused with 422, each fault with its place', async () => {
  const { ask, place } = await makeGateway();
  const json = { 'content-type': 'application/json' };
  const missing = { detail: [{ type: 'missing', loc: ['body'], msg: 'Field required' }] };
  const post = (body: string, headers: Record<string, string>) => ask('/workflows', { body, headers });
  expect(await post('{"name":', json)).toMatchObject({
    status: 422,
    body: { detail: [{ type: 'json_invalid', loc: ['body'], msg: 'JSON decode error' }] },
  });
  expect(await post('{"__proto__": {"x": 1}}', json)).toMatchObject({ status: 422 });
  expect(await post('', json)).toMatchObject({ status: 422, body: missing });
  expect(await post('null', json)).toMatchObject({ status: 422, body: missing });
  expect(await post('name=x', { 'content-type': 'text/plain' })).toMatchObject({
    status: 422,
    body: missing,
  });
  expect(await ask('/workflows/x/resume', { method: 'POST' })).toMatchObject({ status: 422, body: missing });
  const { steps, args: _, ...body } = bodyOf(place.config);
  const { queue: _queue, ...step } = steps[0] ?? { queue: '' };
  const faults = await ask('/workflows', {
    json: { ...body, name: 3, steps: [{ ...step, kwargs: [] }, 'x'] },
  });
  expect(faults).toMatchObject({ status: 422 });
  expect(faults.body).toEqual({
    detail: [
      { type: 'string_type', loc: ['body', 'name'], msg: 'Input should be a valid string' },
      { type: 'missing', loc: ['body', 'steps', 0, 'queue'], msg: 'Field required' },
      { type: 'dict_type', loc: ['body', 'steps', 0, 'kwargs'], msg: 'Input should be a valid dictionary' },
      { type: 'dict_type', loc: ['body', 'steps', 1], msg: 'Input should be a valid dictionary' },
      { type: 'missing', loc: ['body', 'args'], msg: 'Field required' },
    ],
  });
});

test('a body that is nested without end harms nobody', async () => {
  const { ask, place } = await makeGateway();
  const depth = 200_000;
  const args = `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const body = JSON.stringify(bodyOf(place.config)).replace('"args":[7]', `"args":${args}`);
  expect(body).toContain('[[[');
  const headers = { 'content-type': 'application/json' };
  expect((await ask('/workflows', { body, headers })).status).toBe(422);
  expect((await ask('/workflows')).body).toMatchObject({ metadata: { total: 0 } });
});

test('a body above gateway.body_bytes is refused with 413', async () => {
  const { ask, place } = await makeGateway({ overrides: { gateway: { body_bytes: 2000 } } });
  const { status, body } = await ask<object>('/workflows', {
    json: bodyOf(place.config, { description: 'x'.repeat(2000) }),
  });
  expect(status).toBe(413);
  expect(Object.keys(body)).toEqual(['message']);
});

test('pause and resume over HTTP answer as the reference does; the first run is listed as an earlier one', async () => {
  const { fleet, gateway, ask } = await fleetWithGateway();
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await create(gateway, drills(fleet, { one: {}, two: { until_file: go } }));
  const { task_id, pid } = await until(() => fleet.events('start', 'two')[0]);
  const url = `/workflows/${id}`;
  // Clients send a content type with a POST that has no body.
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  expect(await ask(`${url}/pause`, { method: 'POST', headers: form })).toMatchObject({ status: 200 });
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  const paused = await ask<WireWorkflow>(url);
  expect(paused.body).toMatchObject({ status: 'REVOKED', steps_done: 1 });
  expect(paused.body.steps[1]?.last_task_run?._id).toBe(task_id);
  expect((await ask(`${url}/pause`, { method: 'POST' })).body).toEqual({ paused: false });

  expect((await ask(`${url}/resume`, { json: {} })).body).toEqual({
    resumed: true,
    restarted_step: { name: 'two', task: 'drill' },
  });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  expect((await ask(`${url}/resume`, { json: {} })).body).toEqual({ resumed: false });
  const { body } = await ask<WireWorkflow>(`${url}?prev_task_runs=true`);
  expect(body.steps[1]?.prev_task_runs?.map(({ _id, status }) => [_id, status])).toEqual([
    [task_id, 'REVOKED'],
  ]);
  expect(body.steps[1]?.last_task_run?.args).toEqual(body.steps[1]?.prev_task_runs?.[0]?.args);
  const actors = (await fleet.store.records.auditLog({ subject: `workflow:${id}` })).map(
    ({ actor }) => actor,
  );
  expect(new Set(actors)).toEqual(new Set(['api']));
});

test('pausing what has not begun answers which step was stopped', async () => {
  const gateway = await makeGateway();
  const id = await create(gateway, bodyOf(gateway.place.config));
  const { body } = await gateway.ask(`/workflows/${id}/pause`, { method: 'POST' });
  expect(body).toEqual({
    paused: true,
    revoked_step: {
      task_id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      task: 'drill',
      name: 'await stability',
    },
  });
});

test('a workflow that is stuck between two steps goes on with the plain resume that the UI sends', async () => {
  // Nobody repairs the queue meanwhile.
  const { fleet, gateway, ask } = await fleetWithGateway({ workflow: { reconcile_seconds: 3600 } });
  // The first step is recorded, the second is in no queue.
  const worker = await fleet.worker({ LONGSHORE_CRASH_AT: 'after-finish' });
  const id = await create(gateway, drills(fleet, { one: {}, two: {}, three: {} }));
  await worker.exited;
  expect((await ask<WireWorkflow>(`/workflows/${id}`)).body).toMatchObject({
    status: 'STARTED',
    steps_done: 1,
  });
  expect((await ask(`/workflows/${id}/resume`, { json: {} })).body).toEqual({
    resumed: true,
    restarted_step: { name: 'two', task: 'drill' },
  });
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['one', 'two', 'three']);
  const [entry] = await fleet.store.records.auditLog({ subject: `workflow:${id}` });
  expect(entry).toMatchObject({ action: 'workflow.requeue', actor: 'api', details: { step: 'two' } });
});

test('a resume leaves alone what runs or waits its turn', async () => {
  const { fleet, gateway, ask } = await fleetWithGateway();
  const go = fleet.place.path('go');
  const id = await create(gateway, drills(fleet, { one: { until_file: go }, two: {} }));
  expect((await ask(`/workflows/${id}/resume`, { json: {} })).body).toEqual({ resumed: false });
  await fleet.worker();
  await until(() => fleet.events('start', 'one')[0]);
  expect((await ask(`/workflows/${id}/resume`, { json: {} })).body).toEqual({ resumed: false });
  expect((await ask(`/workflows/${id}/resume?force=false`, { json: { args: null } })).body).toEqual({
    resumed: false,
  });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['one', 'two']);
});

test('force gives a step that never ran the arguments of the request', async () => {
  const { fleet, gateway, ask } = await fleetWithGateway();
  const id = await create(gateway, drills(fleet, { one: {} }));
  expect((await ask(`/workflows/${id}/resume?force=True`, { json: { args: [99] } })).body).toEqual({
    resumed: true,
    restarted_step: { name: 'one', task: 'drill' },
  });
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map(({ args }) => args)).toEqual([[99]]);
});

test('delete answers 1, stops what runs, and answers 0 from then on; pause and resume of it are 404', async () => {
  const { fleet, gateway, ask } = await fleetWithGateway();
  await fleet.worker();
  const id = await create(
    gateway,
    drills(fleet, { one: { until_file: fleet.place.path('never') }, two: {} }),
  );
  const { pid } = await until(() => fleet.events('start')[0]);
  const url = `/workflows/${id}`;
  expect(await ask(url, { method: 'DELETE' })).toMatchObject({ status: 200, body: { deleted_count: 1 } });
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  expect(await ask(url, { method: 'DELETE' })).toMatchObject({ status: 200, body: { deleted_count: 0 } });
  const message = expect.stringContaining(id) as string;
  for (const gone of [
    await ask(url),
    await ask(`${url}/pause`, { method: 'POST' }),
    await ask(`${url}/resume`, { json: {} }),
  ]) {
    expect(gone.status).toBe(404);
    expect(gone.body).toEqual({ message });
  }
});

test('two workflows of one dataset are both started, as the reference does, unless gateway.refuse_second', async () => {
  const usual = await makeGateway();
  const body = bodyOf(usual.place.config);
  const ids = [await create(usual, body), await create(usual, body)];
  expect(new Set(ids).size).toBe(2);

  const strict = await makeGateway({ overrides: { gateway: { refuse_second: true } } });
  const first = await create(strict, body);
  const { status, body: refused } = await strict.ask('/workflows', { json: body });
  expect(status).toBe(409);
  expect(refused).toMatchObject({
    code: 'E_WORKFLOW_STATE',
    message: expect.stringContaining(first) as string,
  });
});

test('a workflow of another application is recorded under its name', async () => {
  const gateway = await makeGateway();
  const id = await create(gateway, bodyOf(gateway.place.config, { app_id: 'another' }));
  expect((await gateway.ask<WireWorkflow>(`/workflows/${id}`)).body.app_id).toBe('another');
  const { body } = await gateway.ask<{ metadata: object }>('/workflows?app_id=another');
  expect(body.metadata).toMatchObject({ total: 1 });
});

test('a lock that no worker took up in time is not shown, so that the UI offers the resume again, and it resumes', async () => {
  const overrides = { workflow: { resume_lock_seconds: 0.5 } };
  const { fleet, gateway, ask } = await fleetWithGateway(overrides);
  const id = await create(gateway, drills(fleet, { one: {} }));
  const url = `/workflows/${id}`;
  await ask(`${url}/pause`, { method: 'POST' });
  const { body } = await ask(`${url}/resume`, { json: {} });
  expect(body).toMatchObject({ resumed: true });
  await until(async () => (await ask<WireWorkflow>(url)).body.resume_lock === null, {
    what: 'the lock to end',
  });
  expect((await fleet.store.records.workflow(id))?.resume_lock).not.toBeNull();
  expect((await ask(`${url}/resume`, { json: {} })).body).toMatchObject({ resumed: true });
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start')).toHaveLength(1);
});

test('what another resume has just recorded is left for that one to queue', async () => {
  const { ask, store, place } = await makeGateway();
  const steps = [{ name: 'one', task: 'drill', queue: `${place.config.app_id}.q` }];
  const { id } = makeWorkflow();
  await store.records.createWorkflow(makeWorkflow({ id, steps, resume_lock: new Date().toISOString() }));
  expect((await ask(`/workflows/${id}/resume`, { json: {} })).body).toEqual({ resumed: false });
  expect(await store.records.auditLog({ subject: `workflow:${id}` })).toEqual([]);
});

test('a request that is repeated with its Idempotency-Key starts one workflow; the key of another is refused', async () => {
  const gateway = await makeGateway();
  const { ask, place, store } = gateway;
  const headers = { 'idempotency-key': 'landing of run 7' };
  const post = (json: object) => ask<{ workflow_id: string }>('/workflows', { json, headers });
  const body = bodyOf(place.config);
  const answers = await Promise.all(Array.from({ length: 20 }, () => post(body)));
  const ids = new Set(answers.map((answer) => answer.body.workflow_id));
  expect(ids.size).toBe(1);
  expect((await store.records.listWorkflows({})).total).toBe(1);
  // Also when it has gone on since.
  const [id = ''] = ids;
  await ask(`/workflows/${id}/pause`, { method: 'POST' });
  expect((await post(body)).body).toEqual({ workflow_id: id });
  expect((await ask<WireWorkflow>(`/workflows/${id}`)).body.status).toBe('REVOKED');

  const other = await post(bodyOf(place.config, { args: [8] }));
  expect(other).toMatchObject({ status: 409, body: { code: 'E_WORKFLOW_STATE' } });
  expect((await store.records.listWorkflows({})).total).toBe(1);
  const twins = { 'idempotency-key': 'twins' };
  const both = await Promise.all(
    [1, 2].map((n) => ask('/workflows', { json: bodyOf(place.config, { args: [n] }), headers: twins })),
  );
  expect(both.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 409]);
  expect((await store.records.listWorkflows({})).total).toBe(2);
  // A key is its caller's own; without one, and with another one, a workflow is a new one.
  const authorization = `Bearer ${await tokenOf(place.config, 'somebody else')}`;
  await ask('/workflows', { json: body, headers, authorization });
  await ask('/workflows', { json: body, headers: { 'idempotency-key': 'another' } });
  await ask('/workflows', { json: body });
  expect((await store.records.listWorkflows({})).total).toBe(5);
  expect(
    (await ask('/workflows', { json: body, headers: { 'idempotency-key': 'x'.repeat(256) } })).status,
  ).toBe(422);
});

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { WorkflowDocument } from '../../workers/records/contract.ts';
import type { Store } from '../../workers/store.ts';
import { begin, failure, makeWorkflow, succeed } from '../records/fixture.ts';
import { until } from '../support/until.ts';
import { makeGateway, type TestGateway } from './gateway.ts';

interface Page {
  metadata: { total: number; limit: number; skip: number };
  results: { id: string }[];
}

async function put(
  { records }: Store,
  count: number,
  given: (n: number) => Partial<WorkflowDocument> = () => ({}),
): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n++) {
    const { steps: _, ...more } = given(n);
    const workflow = makeWorkflow({
      created_at: new Date(1_700_000_000_000 + n * 1000).toISOString(),
      ...more,
    });
    await records.createWorkflow(workflow);
    ids.push(workflow.id);
  }
  return ids;
}

async function list(
  { ask }: TestGateway,
  query: string,
): Promise<{ ids: string[]; metadata: Page['metadata'] }> {
  const { status, body } = await ask<Page>(`/workflows?${query}`);
  expect(status, query).toBe(200);
  return { ids: body.results.map(({ id }) => id), metadata: body.metadata };
}

test('lists are newest first, ten by default, with totals; skip, limit and order are as asked', async () => {
  const gateway = await makeGateway();
  const ids = await put(gateway.store, 25);
  const newest = ids.toReversed();
  expect(await list(gateway, '')).toEqual({
    ids: newest.slice(0, 10),
    metadata: { total: 25, limit: 10, skip: 0 },
  });
  expect(await list(gateway, 'skip=20&limit=4')).toEqual({
    ids: newest.slice(20, 24),
    metadata: { total: 25, limit: 4, skip: 20 },
  });
  expect((await list(gateway, 'skip=100')).ids).toEqual([]);
  expect((await list(gateway, 'sort_order_asc=True&limit=3')).ids).toEqual(ids.slice(0, 3));
  // What the reference ignores, and what it does not know.
  expect((await list(gateway, 'sort_by=name&colour=red&app_id=&workflow_name=')).metadata.total).toBe(25);
  // Of a repeated one the last counts.
  expect((await list(gateway, 'limit=1&limit=2')).ids).toHaveLength(2);
});

test('filters by application, name and status group; DONE, ACTIVE and EXCEPTION are the groups', async () => {
  const gateway = await makeGateway();
  const { records } = gateway.store;
  const [pending = '', started = '', success = '', failed = '', revoked = ''] = await put(
    gateway.store,
    5,
    (n) => ({
      name: n === 2 ? 'stage' : 'integrated',
    }),
  );
  const [other = ''] = await put(gateway.store, 1, () => ({ app_id: 'another' }));
  await begin(records, { id: started });
  await succeed(records, { id: success }, 3);
  const { key } = await begin(records, { id: failed });
  await records.finish(key, { outcome: 'failure', error: failure });
  await records.pause(revoked, { actor: 'ana', take_out: false });
  const own = async (status: string) =>
    (await list(gateway, `app_id=longshore-test&status=${status}`)).ids.toSorted();
  expect(await own('PENDING')).toEqual([pending]);
  expect(await own('STARTED')).toEqual([started]);
  expect(await own('SUCCESS')).toEqual([success]);
  expect(await own('FAILURE')).toEqual([failed]);
  expect(await own('REVOKED')).toEqual([revoked]);
  expect(await own('DONE')).toEqual([success, failed, revoked].toSorted());
  expect(await own('ACTIVE')).toEqual([pending, started].toSorted());
  expect(await own('EXCEPTION')).toEqual([failed, revoked].toSorted());
  expect((await list(gateway, 'app_id=another')).ids).toEqual([other]);
  expect((await list(gateway, 'workflow_name=stage')).ids).toEqual([success]);
  expect((await list(gateway, 'workflow_name=stage&status=ACTIVE')).metadata.total).toBe(0);
});

test('a repeated workflow_id is a set: unknown ids are absent, order and repetition do not matter, none means all', async () => {
  const gateway = await makeGateway();
  const ids = await put(gateway.store, 14);
  const [a = '', b = ''] = ids;
  const wanted = `workflow_id=${b}&workflow_id=no-such&workflow_id=${a}&workflow_id=${a}`;
  expect(await list(gateway, wanted)).toEqual({ ids: [b, a], metadata: { total: 2, limit: 10, skip: 0 } });
  expect((await list(gateway, `workflow_id=${a}`)).ids).toEqual([a]);
  expect((await list(gateway, `${wanted}&app_id=another`)).ids).toEqual([]);
  expect((await list(gateway, 'workflow_id=')).metadata.total).toBe(0);
  expect((await list(gateway, '')).metadata.total).toBe(14);
  const all = await list(gateway, ids.map((id) => `workflow_id=${id}`).join('&'));
  expect(all.metadata).toEqual({ total: 14, limit: 10, skip: 0 });
});

test('counts have five keys with zeros, for the application that is asked for', async () => {
  const { ask, store } = await makeGateway();
  const none = { PENDING: 0, STARTED: 0, FAILURE: 0, REVOKED: 0, SUCCESS: 0 };
  expect((await ask('/workflows/counts_by_status?app_id=longshore-test')).body).toEqual(none);
  const [one = '', , three = ''] = await put(store, 3);
  await put(store, 2, () => ({ app_id: 'another' }));
  await begin(store.records, { id: one });
  await store.records.pause(three, { actor: 'ana', take_out: false });
  const own = await ask<object>('/workflows/counts_by_status?app_id=longshore-test');
  expect(own.body).toEqual({ ...none, PENDING: 1, STARTED: 1, REVOKED: 1 });
  expect(Object.keys(own.body)).toEqual(Object.keys(none));
  expect((await ask('/workflows/counts_by_status?app_id=another')).body).toEqual({ ...none, PENDING: 2 });
  // Null matches only null.
  expect((await ask('/workflows/counts_by_status')).body).toEqual(none);
});

test('the names of steps that have begun are listed once each; app_id is required and ignored', async () => {
  const { ask, store } = await makeGateway();
  const ids = await put(store, 3);
  for (const id of ids) await succeed(store.records, { id }, 2);
  expect((await ask('/tasks/unique?app_id=whatever')).body).toEqual(['first', 'second']);
  expect(await ask('/tasks/unique')).toMatchObject({
    status: 422,
    body: { detail: [{ type: 'missing', loc: ['query', 'app_id'], msg: 'Field required' }] },
  });
});

test.each(['true', 'True', 'TRUE', '1', 'yes', 'YES', 'on', 't', 'y'])(
  'the switch %s is on, as the reference reads it',
  async (word) => {
    const gateway = await makeGateway();
    const [first, second] = await put(gateway.store, 2);
    expect((await list(gateway, `sort_order_asc=${word}`)).ids).toEqual([first, second]);
  },
);

test.each(['false', 'False', '0', 'no', 'off', 'f', 'N'])('the switch %s is off', async (word) => {
  const gateway = await makeGateway();
  const [first, second] = await put(gateway.store, 2);
  expect((await list(gateway, `sort_order_asc=${word}`)).ids).toEqual([second, first]);
});

test.each([
  ['limit=ten', 'limit', 'int_parsing'],
  ['limit=-1', 'limit', 'greater_than_equal'],
  ['skip=1.5', 'skip', 'int_parsing'],
  ['skip=99999999999999999999', 'skip', 'int_parsing'],
  ['status=DEAD', 'status', 'enum'],
  ['status=success', 'status', 'enum'],
  ['last_task_run=maybe', 'last_task_run', 'bool_parsing'],
  ['prev_task_runs=', 'prev_task_runs', 'bool_parsing'],
])('the query %s is refused with 422 and where it is wrong', async (query, name, type) => {
  const { ask } = await makeGateway();
  const { status, body } = await ask<{ detail: object[] }>(`/workflows?${query}`);
  expect(status).toBe(422);
  expect(body).toEqual({
    detail: [{ type, loc: ['query', name], msg: expect.stringMatching(/^Input should be/) as string }],
  });
});

test('a page is never larger than gateway.page_limit, and says so', async () => {
  const gateway = await makeGateway({ overrides: { gateway: { page_limit: 12 } } });
  await put(gateway.store, 15);
  for (const limit of ['13', '1000000', '0']) {
    const { ids, metadata } = await list(gateway, `limit=${limit}`);
    expect(ids).toHaveLength(12);
    expect(metadata).toEqual({ total: 15, limit: 12, skip: 0 });
  }
});

test('addresses that are not there, and ids that could be paths, are answered and reach nothing', async () => {
  const { ask } = await makeGateway();
  for (const path of ['/workflows/%zz', '/%', `/workflows/${'x'.repeat(5000)}`])
    expect(await ask(path), path).toMatchObject({ status: 404, body: { detail: 'Not Found' } });
  expect(await ask('/nothing')).toMatchObject({ status: 404, body: { detail: 'Not Found' } });
  for (const id of ['..%2F..%2Fetc%2Fpasswd', '%00', "'%20or%201=1--", '%7B%22$gt%22:%22%22%7D']) {
    const { status, body } = await ask<object>(`/workflows/${id}`);
    expect(status, id).toBe(404);
    expect(Object.keys(body), id).toEqual(['message']);
  }
});

test('an address that does not know the method says which it knows, as FastAPI does, and asks for no token', async () => {
  const { ask } = await makeGateway();
  for (const [method, path, allow] of [
    ['PUT', '/workflows', 'GET, HEAD, POST'],
    ['PATCH', '/rhythm/workflows/x', 'DELETE, GET, HEAD'],
    ['GET', '/workflows/x/pause', 'POST'],
    ['DELETE', '/health', 'GET, HEAD'],
  ] as const) {
    const { status, body, headers } = await ask(path, { method, authorization: null });
    expect({ status, body, allow: headers.get('allow') }, path).toEqual({
      status: 405,
      body: { detail: 'Method Not Allowed' },
      allow,
    });
  }
  expect((await ask('/nothing', { method: 'PUT' })).status).toBe(404);
});

test('thousands of ids fit into one question, and an address may end with a slash', async () => {
  const gateway = await makeGateway();
  const [one = ''] = await put(gateway.store, 2);
  const ids = Array.from({ length: 5000 }, () => `workflow_id=${randomUUID()}`);
  expect((await list(gateway, [...ids, `workflow_id=${one}`].join('&'))).ids).toEqual([one]);
  expect((await gateway.ask('/rhythm/workflows/')).body).toEqual((await gateway.ask('/workflows')).body);
  // A page that is looked at asks so every few seconds.
  const log = await until(() => {
    const text = readFileSync(gateway.place.path('gateway.log'), 'utf8');
    return text.includes('"url":"/rhythm/workflows/"') ? text : null;
  });
  expect(log).toContain(ids[0]);
  expect(log).toContain('(245');
  expect(Math.max(...log.split('\n').map(({ length }) => length))).toBeLessThan(3000);
});

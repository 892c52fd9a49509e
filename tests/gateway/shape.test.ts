import { expect, test } from 'vitest';
import type { WorkflowWithRuns } from '../../workers/records/contract.ts';
import type { Store } from '../../workers/store.ts';
import { wireDate } from '../../workers/gateway/dates.ts';
import { page, workflow as workflowShape, type WireWorkflow } from '../../workers/gateway/shapes.ts';
import { begin, failure, makeWorkflow } from '../records/fixture.ts';
import { makeGateway } from './gateway.ts';

const SIX_DIGITS = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/) as unknown as string;

const progress = {
  name: 'tar',
  fraction_done: 0.5,
  done: 50,
  total: 100,
  units: 'bytes',
  time_remaining_sec: 3,
  wt_avg_rate: 10,
  avg_rate: 10,
};

/** Three steps: one has succeeded, one failed, was resumed and runs; the last has not begun. */
async function atWork({ records }: Store): Promise<string> {
  const steps = ['await stability', 'inspect', 'archive'].map((name) => ({
    name,
    task: `task_of_${name}`,
    kwargs: { secret: 'of the step' },
  }));
  const workflow = makeWorkflow({ steps, created_at: '2026-11-28T13:05:09.042Z' });
  await records.createWorkflow(workflow);
  const first = await begin(records, workflow, 0, 'w1@node-1:7');
  await records.finish(first.key, { outcome: 'success', result: [7] });
  const second = await begin(records, workflow, 1, 'w1@node-1:7');
  await records.finish(second.key, { outcome: 'failure', error: failure });
  await records.resume(workflow.id, { actor: 'ana', force: false, lock_seconds: 60 });
  const third = await begin(records, workflow, 1, 'w2@node-2:8');
  await records.running(third.key, { pid: 12, pgid: 12, hostname: 'node-2' });
  await records.progress(third.key, progress);
  return workflow.id;
}

const runOf = (id: string, step: string, more: Record<string, unknown>) => ({
  _id: expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown as string,
  children: [],
  date_start: SIX_DIGITS,
  name: `task_of_${step}`,
  args: [7],
  kwargs: { secret: 'of the step', workflow_id: id, step, app_id: 'longshore-test' },
  retries: 0,
  queue: 'test.q',
  traceback: null,
  ...more,
});

/** Written by hand from the description of the reference's server, key by key. */
function expected(id: string) {
  const failed = runOf(id, 'inspect', {
    status: 'FAILURE',
    result: { exc_type: 'E_IO', exc_message: ['read of /x failed'], exc_module: 'longshore' },
    traceback: failure.traceback,
    date_done: SIX_DIGITS,
    worker: 'w1@node-1:7',
  });
  const runs = runOf(id, 'inspect', {
    status: 'STARTED',
    result: progress,
    date_done: null,
    worker: 'w2@node-2:8',
  });
  const done = runOf(id, 'await stability', {
    status: 'SUCCESS',
    result: [7],
    date_done: SIX_DIGITS,
    worker: 'w1@node-1:7',
  });
  return {
    id,
    name: 'integrated',
    app_id: 'longshore-test',
    description: null,
    created_at: '2026-11-28T13:05:09.042000Z',
    updated_at: SIX_DIGITS,
    status: 'STARTED',
    steps_done: 1,
    total_steps: 3,
    steps: [
      {
        name: 'await stability',
        task: 'task_of_await stability',
        status: 'SUCCESS',
        last_task_run: done,
        prev_task_runs: [],
      },
      {
        name: 'inspect',
        task: 'task_of_inspect',
        status: 'STARTED',
        last_task_run: runs,
        prev_task_runs: [failed],
      },
      {
        name: 'archive',
        task: 'task_of_archive',
        status: 'PENDING',
        last_task_run: null,
        prev_task_runs: [],
      },
    ],
    resume_lock: null,
  };
}

const without = (workflow: ReturnType<typeof expected>, key: 'last_task_run' | 'prev_task_runs') => ({
  ...workflow,
  steps: workflow.steps.map(({ [key]: _left_out, ...step }) => step),
});

test('a workflow is served with the keys of the reference, none more and none less, dates with six digits', async () => {
  const { ask, store } = await makeGateway();
  const id = await atWork(store);
  const whole = await ask<WireWorkflow>(`/workflows/${id}?prev_task_runs=true`);
  expect(whole.status).toBe(200);
  expect(whole.body).toEqual(expected(id));
  expect(workflowShape.parse(whole.body)).toEqual(whole.body);
  expect(Object.keys(whole.body)).toEqual(Object.keys(expected(id)));

  const usual = await ask(`/workflows/${id}`);
  expect(usual.body).toEqual(without(expected(id), 'prev_task_runs'));
  const bare = await ask(`/workflows/${id}?last_task_run=false&prev_task_runs=0`);
  expect(bare.body).toEqual({
    ...expected(id),
    steps: expected(id).steps.map(({ name, task, status }) => ({ name, task, status })),
  });
  const earlier = await ask(`/workflows/${id}?last_task_run=off&prev_task_runs=Yes`);
  expect(earlier.body).toEqual(without(expected(id), 'last_task_run'));

  const listed = await ask('/workflows?prev_task_runs=1');
  expect(listed.body).toEqual({ metadata: { total: 1, limit: 10, skip: 0 }, results: [expected(id)] });
  expect(page.parse(listed.body)).toEqual(listed.body);
});

test('a revoked step, one that waits for its retry and a lock are served as the UI reads them', async () => {
  const { ask, store } = await makeGateway();
  const { records } = store;
  const revoked = makeWorkflow();
  await records.createWorkflow(revoked);
  await records.pause(revoked.id, { actor: 'ana', take_out: false });
  await records.resume(revoked.id, { actor: 'ana', force: false, lock_seconds: 60 });
  const { body } = await ask<WireWorkflow>(`/workflows/${revoked.id}`);
  expect(body).toMatchObject({ status: 'REVOKED', steps_done: 0, resume_lock: SIX_DIGITS });
  expect(body.steps[0]?.last_task_run?.result).toEqual({
    exc_type: 'TaskRevokedError',
    exc_message: ['terminated'],
    exc_module: 'longshore',
  });
  const retried = makeWorkflow();
  await records.createWorkflow(retried);
  const { key } = await begin(records, retried);
  const next_attempt_at = new Date(Date.now() + 5000).toISOString();
  await records.finish(key, { outcome: 'retry', error: failure, next_attempt_at, reason: 'x' });
  const again = await ask<WireWorkflow>(`/workflows/${retried.id}`);
  expect(again.body).toMatchObject({ status: 'STARTED', steps_done: 0 });
  expect(again.body.steps[0]).toMatchObject({
    status: 'RETRY',
    last_task_run: { status: 'RETRY', date_done: null, result: { exc_type: 'E_IO' } },
  });
});

test('one document that cannot be rendered is left out, and the others of its page are served', async () => {
  const wrap = ({ records, ...store }: Store): Store => ({
    ...store,
    records: {
      ...records,
      listWorkflows: async (...args) => {
        const { total, results } = await records.listWorkflows(...args);
        const [first, ...rest] = results;
        const workflow = { ...first?.workflow, steps: null };
        return { total, results: [{ ...first, workflow } as unknown as WorkflowWithRuns, ...rest] };
      },
    },
  });
  const { ask, store } = await makeGateway({ wrap });
  await store.records.createWorkflow(makeWorkflow());
  await store.records.createWorkflow(makeWorkflow());
  const { status, body } = await ask<{ metadata: object; results: unknown[] }>('/workflows');
  expect(status).toBe(200);
  expect(body.metadata).toMatchObject({ total: 2 });
  expect(body.results).toHaveLength(1);
});

test.each([
  ['2026-11-28T13:05:09.042Z', '2026-11-28T13:05:09.042000Z'],
  ['2026-11-28T13:05:09Z', '2026-11-28T13:05:09.000000Z'],
  // As the reference's task documents have it: without a zone, in UTC.
  ['2023-01-02T03:04:05.123456', '2023-01-02T03:04:05.123456Z'],
  ['2023-01-02T03:04:05', '2023-01-02T03:04:05.000000Z'],
  ['no date', 'no date'],
  [null, null],
  [undefined, null],
])('the date %s is served as %s', (given, served) => {
  expect(wireDate(given)).toBe(served);
});

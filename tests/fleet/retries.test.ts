import { expect, test } from 'vitest';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const DELAY = 0.4;
const overrides = { workflow: { retry: { max: 3, delay_seconds: DELAY } } };

test('a task that fails three times and then succeeds keeps its task id and is one task run with retries 3', async () => {
  const fleet = await makeFleet(overrides);
  await fleet.worker();
  const id = await fleet.start({ one: { fail: 3 }, two: {} });
  const done = await fleet.reaches(id, 'SUCCESS');
  const starts = fleet.events('start', 'one');
  expect(starts).toHaveLength(4);
  expect(new Set(starts.map((entry) => entry.task_id)).size).toBe(1);
  expect(done.steps[0]?.last_task_run).toMatchObject({ status: 'SUCCESS', retries: 3 });
  expect(done.steps[0]?.prev_task_runs).toEqual([]);
  const document = await fleet.store.records.workflow(id);
  expect(document?.steps[0]?.task_runs).toHaveLength(1);
});

test('RETRY is served while the next try waits, and no try begins before the delay is over', async () => {
  const fleet = await makeFleet(overrides);
  await fleet.worker();
  const id = await fleet.start({ one: { fail: 2 } });
  await until(async () => (await fleet.engine.show(id)).steps[0]?.status === 'RETRY', { what: 'RETRY' });
  const during = await fleet.engine.show(id);
  expect(during.status).toBe('STARTED');
  expect(during.steps[0]?.last_task_run?.result).toMatchObject({
    exc_type: expect.any(String),
    code: 'E_IO',
  });
  await fleet.reaches(id, 'SUCCESS');
  const attempts = await fleet.store.records.attempts(during.steps[0]?.last_task_run?._id ?? '');
  expect(attempts.map((attempt) => attempt.outcome)).toEqual(['retry', 'retry', 'success']);
  for (const [index, attempt] of attempts.entries()) {
    const next = attempts[index + 1];
    if (next === undefined) continue;
    // Decided when the try had failed, and recorded a moment later.
    const due = Date.parse(attempt.next_attempt_at ?? '');
    expect(due - Date.parse(attempt.date_start)).toBeGreaterThanOrEqual(DELAY * 1000);
    expect(Date.parse(next.date_start)).toBeGreaterThanOrEqual(due - 2);
    expect(attempt.reason).toContain('E_IO');
  }
});

test('a retryable error that does not end is FAILURE after four runs, with type, message and traceback kept', async () => {
  const fleet = await makeFleet(overrides);
  await fleet.worker();
  const id = await fleet.start({ one: { fail: 99, fail_code: 'uncoded' }, two: {} });
  const failed = await fleet.reaches(id, 'FAILURE');
  expect(fleet.events('start')).toHaveLength(4);
  const run = failed.steps[0]?.last_task_run;
  expect(run).toMatchObject({
    status: 'FAILURE',
    retries: 3,
    result: { code: 'E_TASK_CRASHED', class: 'retryable', hint: expect.stringContaining('traceback') },
  });
  expect(run?.traceback).toContain('drill failure 4');
  expect(run?.traceback).toContain('drill.ts');
  expect((await fleet.store.records.workflow(id))?._status).toBe('FAILURE');
});

test.each(['E_INSPECTION', 'E_VALIDATION', 'E_NO_SPACE'] as const)(
  '%s is not retried: one run',
  async (code) => {
    const fleet = await makeFleet(overrides);
    await fleet.worker();
    const id = await fleet.start({ one: { fail: 1, fail_code: code } });
    const failed = await fleet.reaches(id, 'FAILURE');
    expect(fleet.events('start')).toHaveLength(1);
    expect(failed.steps[0]?.last_task_run).toMatchObject({ retries: 0, result: { code } });
  },
);

test('a task over its time limit is stopped with what it started, and retried as E_TIMEOUT', async () => {
  const fleet = await makeFleet({
    task: { time_limit_seconds: 1, kill_grace_seconds: 0.2 },
    workflow: { retry: { max: 1, delay_seconds: 0.1 } },
  });
  await fleet.worker();
  const id = await fleet.start({ one: { deaf_until_file: fleet.place.path('never'), grandchild: true } });
  const failed = await fleet.reaches(id, 'FAILURE');
  const run = failed.steps[0]?.last_task_run;
  expect(run).toMatchObject({ retries: 1, result: { code: 'E_TIMEOUT' } });
  // The attempts, not what the body wrote: on a busy machine the second may pass before the child's body begins.
  const attempts = await fleet.store.records.attempts(run?._id ?? '');
  expect(attempts.map((attempt) => attempt.outcome)).toEqual(['retry', 'failure']);
});

test.each([
  ['the one that the task declares', {}, [1, 0]],
  ['the one that the site gives it', { tasks: { stubborn: { max: 2, delay_seconds: 0.1 } } }, [2, 1, 0]],
])('a task is tried again as its own policy says: %s', async (_, site, left) => {
  const fleet = await makeFleet({ workflow: { retry: { max: 5, delay_seconds: 0.05, ...site } } });
  await fleet.worker();
  const steps = [{ name: 'one', task: 'stubborn', kwargs: { journal: fleet.journal } }];
  const options = { initiator: 'test', dataset_id: await fleet.dataset() };
  const { id } = await fleet.engine.start({ name: 'stubborn', steps }, options);
  await fleet.reaches(id, 'FAILURE');
  const starts = fleet.events('start') as unknown as { retries_left: number; at: number }[];
  expect(starts.map(({ retries_left }) => retries_left)).toEqual(left);
  const delay = 'tasks' in site ? 100 : 300;
  expect((starts[1]?.at ?? 0) - (starts[0]?.at ?? 0)).toBeGreaterThanOrEqual(delay);
});

import { expect, test } from 'vitest';
import type { TaskRun, TaskStatus, WorkflowWithRuns } from '../../workers/records/contract.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { deriveStatus, runnablePosition, toServed } from '../../workers/workflows/status.ts';
import { makePlace } from '../support/place.ts';

const S = 'SUCCESS';

test.each<[string, (TaskStatus | null)[], string, number]>([
  ['every step has succeeded', [S, S, S], 'SUCCESS', 3],
  ['nothing has begun', [null, null, null], 'PENDING', 0],
  ['the first step is PENDING', ['PENDING', null, null], 'PENDING', 0],
  ['the first step runs', ['STARTED', null, null], 'STARTED', 0],
  ['the first step waits for a retry', ['RETRY', null, null], 'STARTED', 0],
  ['the first step failed', ['FAILURE', null, null], 'FAILURE', 0],
  ['the first step was revoked', ['REVOKED', null, null], 'REVOKED', 0],
  ['a later step has not begun', [S, null, null], 'STARTED', 1],
  ['a later step is PENDING', [S, 'PENDING', null], 'STARTED', 1],
  ['a later step runs', [S, S, 'STARTED'], 'STARTED', 2],
  ['a later step waits for a retry', [S, 'RETRY', null], 'STARTED', 1],
  ['a later step failed', [S, 'FAILURE', null], 'FAILURE', 1],
  ['a later step was revoked', [S, S, 'REVOKED'], 'REVOKED', 2],
  ['an early step failed although a later one has succeeded', ['FAILURE', S, S], 'FAILURE', 0],
])('when %s the workflow is derived accordingly', (_, steps, status, steps_done) => {
  expect(deriveStatus(steps)).toEqual({ status, steps_done });
});

async function workflowWith(runs: (Partial<TaskRun> | null)[]): Promise<WorkflowWithRuns> {
  const { config } = await makePlace();
  const steps = runs.map((_, index) => ({ name: `s${index}`, task: 'drill', kwargs: { secret: 1 } }));
  const workflow = buildWorkflow(config, { name: 'w', steps }, { dataset_id: 3, initiator: 'test' });
  const last_runs = runs.map((run, index) =>
    run === null ? null : ({ _id: workflow.steps[index]?.next_task_id, ...run } as TaskRun),
  );
  return { workflow, last_runs };
}

test('a failed or stopped step holds its workflow back until a resume gives it a new task id', async () => {
  for (const status of ['FAILURE', 'REVOKED'] as const) {
    const stopped = await workflowWith([{ status: S }, { status }, null]);
    expect(runnablePosition(stopped)).toBeNull();
    const resumed = await workflowWith([{ status: S }, { status, _id: 'an earlier run' }, null]);
    expect(runnablePosition(resumed)).toBe(1);
  }
});

test('the step that may run is the first that has not succeeded', async () => {
  expect(runnablePosition(await workflowWith([null, null]))).toBe(0);
  expect(runnablePosition(await workflowWith([{ status: S }, { status: 'RETRY' }]))).toBe(1);
  expect(runnablePosition(await workflowWith([{ status: S }, { status: S }]))).toBeNull();
});

test('a step whose queue nobody knows holds back what has not run, and nothing once it has', async () => {
  const found = await workflowWith([{ status: S }, null]);
  const without = (at: number): WorkflowWithRuns => {
    const steps = found.workflow.steps.map((step, index) => (index === at ? { ...step, queue: '' } : step));
    return { ...found, workflow: { ...found.workflow, steps } };
  };
  expect([runnablePosition(without(0)), runnablePosition(without(1))]).toEqual([1, null]);
});

test('a workflow is served without queue and kwargs, with last and earlier runs as asked', async () => {
  const found = await workflowWith([{ status: S }, null]);
  const served = toServed({ ...found, prev_runs: [[{ _id: 'older' } as TaskRun], []] });
  expect(Object.keys(served)).toEqual(
    expect.arrayContaining(
      'id name app_id description created_at updated_at status steps_done total_steps steps resume_lock'.split(
        ' ',
      ),
    ),
  );
  expect(served).toMatchObject({ status: 'STARTED', steps_done: 1, total_steps: 2 });
  expect(served.steps[0]).toEqual({
    name: 's0',
    task: 'drill',
    status: S,
    last_task_run: found.last_runs[0],
    prev_task_runs: [{ _id: 'older' }],
  });
  expect(served.steps[1]).toEqual({
    name: 's1',
    task: 'drill',
    status: 'PENDING',
    last_task_run: null,
    prev_task_runs: [],
  });
  expect(toServed(found, { last_task_run: false }).steps[0]).toEqual({
    name: 's0',
    task: 'drill',
    status: S,
  });
});

import { expect, test } from 'vitest';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { makePlace } from '../support/place.ts';

const step = (name: string, more: Record<string, unknown> = {}) => ({ name, task: 'drill', ...more });

test('a new workflow has every field of the document and is PENDING', async () => {
  const { config } = await makePlace();
  const workflow = buildWorkflow(config, 'integrated', {
    dataset_id: 7,
    start_kwargs: { recency_threshold: 1 },
    initiator: 'test',
  });
  expect(workflow).toMatchObject({
    name: 'integrated',
    app_id: 'longshore-test',
    dataset_id: 7,
    args: [7],
    start_kwargs: { recency_threshold: 1 },
    _status: 'PENDING',
    resume_lock: null,
    revoked_at: null,
    updated_at: null,
    initiator: 'test',
  });
  expect(workflow.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  expect(Date.parse(workflow.created_at ?? '')).toBeGreaterThan(Date.now() - 10_000);
  expect(workflow.steps.map(({ name, task }) => [name, task])).toEqual([
    ['await stability', 'await_stability'],
    ['inspect', 'inspect_dataset'],
    ['archive', 'archive_dataset'],
    ['stage', 'stage_dataset'],
    ['validate', 'validate_dataset'],
    ['setup_download', 'setup_dataset_download'],
  ]);
  expect(workflow.steps.every((each) => each.queue === 'longshore-test.q')).toBe(true);
  expect(new Set(workflow.steps.map((each) => each.next_task_id)).size).toBe(6);
});

test('a task id that was decided before is that of the first run', async () => {
  const { config } = await makePlace();
  const steps = [step('one', { task_id: 'known' }), step('two')];
  const workflow = buildWorkflow(config, { name: 'own', steps }, { dataset_id: 7, initiator: 'test' });
  expect(workflow.steps[0]?.next_task_id).toBe('known');
  expect(workflow.steps[1]?.next_task_id).not.toBe('known');
});

test('priority is the position from 1, at most 9, unless the step names its own', async () => {
  const { config } = await makePlace();
  const steps = Array.from({ length: 12 }, (_, index) =>
    step(`s${index}`, index === 4 ? { priority: 0 } : {}),
  );
  const workflow = buildWorkflow(config, { name: 'long', steps }, { dataset_id: 1, initiator: 'test' });
  expect(workflow.steps.map((each) => each.priority)).toEqual([1, 2, 3, 4, 0, 6, 7, 8, 9, 9, 9, 9]);
});

test.each([
  ['no steps', { name: 'w', steps: [] }, 'it has no steps'],
  ['a name twice', { name: 'w', steps: [step('a'), step('b'), step('a')] }, 'step name "a" is used twice'],
  ['an empty name', { name: ' ', steps: [step('a')] }, 'the name is empty'],
  ['a step without a name', { name: 'w', steps: [step('')] }, 'step 1 has no name'],
  ['a step without a task', { name: 'w', steps: [{ name: 'a', task: '' }] }, 'step 1 names no task'],
  ['an empty queue', { name: 'w', steps: [step('a', { queue: '' })] }, 'names queue ""'],
  ['a queue that BullMQ refuses', { name: 'w', steps: [step('a', { queue: 'a:b' })] }, 'names queue "a:b"'],
])('a workflow with %s is refused, saying so', async (_, definition, message) => {
  const { config } = await makePlace();
  const build = () => buildWorkflow(config, definition, { dataset_id: 1, initiator: 'test' });
  expect(build).toThrowError(
    expect.objectContaining({ code: 'E_WORKFLOW_INVALID', message: expect.stringContaining(message) }),
  );
});

test('an unknown workflow is refused with the names there are; inherited names are no workflows', async () => {
  const { config } = await makePlace();
  for (const name of ['integrate', 'constructor']) {
    expect(() => buildWorkflow(config, name, { dataset_id: 1, initiator: 'test' })).toThrowError(
      expect.objectContaining({
        code: 'E_WORKFLOW_INVALID',
        message: expect.stringContaining('integrated, archive, copies, stage, qc, purge, delete'),
      }),
    );
  }
});

test('an empty app_id is refused', async () => {
  const { config } = await makePlace();
  expect(() =>
    buildWorkflow({ ...config, app_id: '' }, 'stage', { dataset_id: 1, initiator: 'test' }),
  ).toThrowError(/app_id is empty/);
});

import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

test('six steps run in order, each once, and hand on only the first value', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const id = await fleet.start({
    one: {},
    two: { hand_on: ['of two', 'dropped'] },
    three: {},
    four: {},
    five: {},
    six: {},
  });
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done).toMatchObject({ steps_done: 6, total_steps: 6 });
  const starts = fleet.events('start');
  expect(starts.map((entry) => entry.step)).toEqual(['one', 'two', 'three', 'four', 'five', 'six']);
  const dataset_id = done.dataset_id;
  expect(starts.map((entry) => entry.args?.[0])).toEqual([
    dataset_id,
    dataset_id,
    'of two',
    dataset_id,
    dataset_id,
    dataset_id,
  ]);
  expect(starts.every((entry) => entry.args?.length === 1)).toBe(true);
  expect(new Set(starts.map((entry) => entry.pid)).size).toBe(6);
});

test('reserved kwargs beat start kwargs, start kwargs beat step kwargs, for every step', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const start_kwargs = { wait: 'start', step: 'forged', workflow_id: 'forged', extra: 1 };
  const odd = { wait: 'step', own: 'step' } as object;
  const id = await fleet.start({ one: odd, two: odd }, { start_kwargs });
  await fleet.reaches(id, 'SUCCESS');
  for (const entry of fleet.events('start')) {
    expect(entry.kwargs).toMatchObject({
      workflow_id: id,
      step: entry.step,
      app_id: 'longshore-test',
      wait: 'start',
      own: 'step',
      extra: 1,
    });
  }
});

// Where turns are taken, the turn of a workflow would keep its steps together without their priorities.
test.each([
  ['a turn for each project', 'project'],
  ['first come, first served', null],
])(
  'with one slot, later steps of a begun workflow run before the first step of another (%s)',
  async (_, share_by) => {
    const fleet = await makeFleet({ autoscale: { min: 1, max: 1 }, queue: { share_by } });
    const ids = [];
    for (const prefix of ['a', 'b', 'c'])
      ids.push(await fleet.start({ [`${prefix}1`]: {}, [`${prefix}2`]: {}, [`${prefix}3`]: {} }));
    await fleet.worker();
    for (const id of ids) await fleet.reaches(id, 'SUCCESS');
    expect(fleet.events('start').map((entry) => entry.step)).toEqual([
      'a1',
      'a2',
      'a3',
      'b1',
      'b2',
      'b3',
      'c1',
      'c2',
      'c3',
    ]);
  },
);

test('eight postponed jobs do not hold the slots that a ninth needs, and go on when their time comes', async () => {
  const fleet = await makeFleet({ autoscale: { min: 2, max: 2 } });
  await fleet.worker();
  const gate = fleet.place.path('stable');
  const waiting = [];
  for (let index = 0; index < 8; index += 1)
    waiting.push(await fleet.start({ [`wait${index}`]: { postpone_until_file: gate, postpone_ms: 300 } }));
  await until(() => new Set(fleet.events('start').map((entry) => entry.step)).size === 8);
  const ninth = await fleet.start({ ninth: {} });
  await fleet.reaches(ninth, 'SUCCESS');
  const [first] = waiting;
  const served = await fleet.engine.show(first ?? '');
  expect(served.steps[0]?.last_task_run).toMatchObject({ status: 'STARTED', retries: 0, losses: 0 });
  writeFileSync(gate, '');
  for (const id of waiting) await fleet.reaches(id, 'SUCCESS');
  const { steps } = await fleet.engine.show(first ?? '', { prev_task_runs: true });
  expect(steps[0]?.prev_task_runs).toEqual([]);
  const attempts = await fleet.store.records.attempts(steps[0]?.last_task_run?._id ?? '');
  expect(attempts.slice(0, -1).every((attempt) => attempt.outcome === 'postponed')).toBe(true);
  expect(attempts.at(-1)?.outcome).toBe('success');
});

test('a job whose workflow is not recorded any more fails cleanly and leaves nothing in the queue', async () => {
  const fleet = await makeFleet();
  const id = await fleet.start({ one: {}, two: {}, three: {} });
  await fleet.store.records.deleteWorkflow(id);
  const worker = await fleet.worker();
  await until(() => worker.log().includes('E_WORKFLOW_NOT_FOUND'), { what: 'the coded line' });
  await until(async () => Object.values((await fleet.engine.fleet()).jobs).every((count) => count === 0), {
    what: 'an empty queue',
  });
  expect(fleet.entries()).toEqual([]);
  await fleet.reaches(await fleet.start({ four: {} }), 'SUCCESS');
});

test('a step that names an unknown task fails at once and names the tasks there are', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const definition = { name: 'odd', steps: [{ name: 'one', task: 'no_such_task' }] };
  const { id } = await fleet.engine.start(definition, {
    dataset_id: await fleet.dataset(),
    initiator: 'test',
  });
  const failed = await fleet.reaches(id, 'FAILURE');
  expect(failed.steps[0]?.last_task_run).toMatchObject({ retries: 0, result: { code: 'E_TASK_UNKNOWN' } });
  expect(JSON.stringify(failed.steps[0]?.last_task_run?.result)).toContain('drill');
});

test.each([{ hand_on: 7 }, { hand_on: 'text' }, { hand_on: {} }, { hand_on: [] }])(
  'a task that returns $hand_on fails at once, told what was expected',
  async ({ hand_on }) => {
    const fleet = await makeFleet();
    await fleet.worker();
    const failed = await fleet.reaches(await fleet.start({ one: { hand_on } }), 'FAILURE');
    expect(failed.steps[0]?.last_task_run).toMatchObject({
      retries: 0,
      result: {
        exc_message: [expect.stringContaining(`returned ${JSON.stringify(hand_on)}; expected a list`)],
      },
    });
  },
);

test('a task that leaves timers open is finished when its body returns', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const id = await fleet.start({ one: { leave_open: true, grandchild: true } });
  await fleet.reaches(id, 'SUCCESS');
});

test('a workflow that succeeds starts those that follow, once, for the same dataset', async () => {
  const drill = (name: string, journal = '/dev/null') => ({ name, task: 'drill', kwargs: { journal } });
  const fleet = await makeFleet({
    workflow_registry: {
      first: { steps: [drill('one')], then: ['second'] },
      second: { steps: [drill('two')] },
    },
  });
  const dataset_id = await fleet.dataset();
  await fleet.worker();
  const { id } = await fleet.engine.start('first', {
    dataset_id,
    initiator: 'test',
    start_kwargs: { journal: fleet.journal },
  });
  await fleet.reaches(id, 'SUCCESS');
  const followers = await until(async () => {
    const { results } = await fleet.engine.list({ name: 'second', status: 'DONE' });
    return results.length > 0 ? results : null;
  });
  expect(followers).toHaveLength(1);
  expect(followers[0]).toMatchObject({ dataset_id, initiator: `workflow:${id}`, status: 'SUCCESS' });
});

test('of workflows started on one dataset at the same moment, one is started', async () => {
  const fleet = await makeFleet();
  const dataset_id = await fleet.dataset();
  const starts = await Promise.allSettled([1, 2, 3, 4].map(() => fleet.start({ one: {} }, { dataset_id })));
  expect(starts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect((await fleet.engine.list({})).metadata.total).toBe(1);
});

test('a second workflow is not started on a dataset that one works on, and the answer says which', async () => {
  const fleet = await makeFleet();
  const dataset_id = await fleet.dataset();
  const id = await fleet.start({ one: {} }, { dataset_id });
  await expect(fleet.start({ two: {} }, { dataset_id })).rejects.toMatchObject({
    code: 'E_WORKFLOW_STATE',
    fields: { dataset_id, workflow_id: id },
    hint: expect.stringContaining(id),
  });
  const { metadata } = await fleet.engine.list({});
  expect(metadata.total).toBe(1);
  expect(await fleet.start({ two: {} }, { dataset_id, alongside: true })).toBeTruthy();
  expect(await fleet.engine.counts()).toEqual({ PENDING: 2, STARTED: 0, SUCCESS: 0, FAILURE: 0, REVOKED: 0 });
});

import { existsSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const actor = 'tester';
const exists = (pid: number) => existsSync(`/proc/${pid}`) && membersOf(pid).length > 0;

test('pausing a running step ends its whole process group, from any process, and answers what was revoked', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const id = await fleet.start({ one: {}, two: { until_file: fleet.place.path('go'), grandchild: true } });
  const { grandchild = 0, pid } = await until(() => fleet.events('grandchild')[0]);
  expect(membersOf(pid)).toEqual(expect.arrayContaining([pid, grandchild]));
  const answer = await fleet.engine.pause(id, { actor });
  expect(answer).toEqual({
    paused: true,
    revoked_step: { task_id: fleet.events('start', 'two')[0]?.task_id, task: 'drill', name: 'two' },
    index: 1,
    process: 'stopped',
  });
  expect(membersOf(pid)).toEqual([]);
  const paused = await fleet.engine.show(id);
  expect(paused).toMatchObject({ status: 'REVOKED', steps_done: 1 });
  expect(paused.steps[1]?.last_task_run).toMatchObject({
    status: 'REVOKED',
    result: { exc_type: 'TaskRevokedError', exc_message: ['terminated'] },
  });
});

test('a task that never looks at its signal is killed after the grace time, and no late write overwrites REVOKED', async () => {
  const fleet = await makeFleet({ task: { kill_grace_seconds: 0.3 } });
  await fleet.worker();
  const id = await fleet.start({ one: { deaf_until_file: fleet.place.path('never'), chatter: true } });
  const { pid } = await until(() => fleet.events('start')[0]);
  await until(
    async () => {
      const result = (await fleet.engine.show(id)).steps[0]?.last_task_run?.result as {
        done?: number;
      } | null;
      return (result?.done ?? 0) > 0;
    },
    { what: 'progress' },
  );
  expect((await fleet.engine.pause(id, { actor })).process).toBe('stopped');
  expect(exists(pid)).toBe(false);
  const run = (await fleet.engine.show(id)).steps[0]?.last_task_run;
  expect(run).toMatchObject({ status: 'REVOKED', result: { code: 'E_REVOKED' } });
  // Another task's progress moves twice: longer than the interval within which a late write would have come.
  const other = await fleet.start({ two: { chatter: true, deaf_until_file: fleet.place.path('never') } });
  const done = async () =>
    ((await fleet.engine.show(other)).steps[0]?.last_task_run?.result as { done?: number } | null)?.done ?? 0;
  for (let seen = 0, moves = 0; moves < 3; moves += 1) {
    seen = await until(async () => ((await done()) > seen ? done() : null), {
      what: 'progress of the other',
    });
  }
  expect((await fleet.engine.show(id)).steps[0]?.last_task_run).toEqual(run);
});

test('resume runs the same step again with the same args and kwargs under a new task id', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start(
    { one: {}, two: { until_file: go }, three: {} },
    { start_kwargs: { recency_threshold: 42 } },
  );
  await until(() => fleet.events('start', 'two')[0]);
  await fleet.engine.pause(id, { actor });
  expect(await fleet.engine.resume(id, { actor })).toEqual({
    resumed: true,
    restarted_step: { name: 'two', task: 'drill' },
    index: 1,
  });
  writeFileSync(go, '');
  const done = await fleet.reaches(id, 'SUCCESS');
  const [first, second, ...more] = fleet.events('start', 'two');
  expect(more).toEqual([]);
  expect(second?.args).toEqual(first?.args);
  expect(second?.kwargs).toEqual(first?.kwargs);
  expect(second?.kwargs?.recency_threshold).toBe(42);
  expect(second?.task_id).not.toBe(first?.task_id);
  expect(done.steps[1]?.prev_task_runs?.map((run) => [run._id, run.status])).toEqual([
    [first?.task_id, 'REVOKED'],
  ]);
  expect(fleet.events('start', 'three')).toHaveLength(1);
});

test('a step that has not begun can be paused and resumed; nothing of it runs in between', async () => {
  const fleet = await makeFleet();
  const id = await fleet.start({ one: {}, two: {} });
  const answer = await fleet.engine.pause(id, { actor });
  expect(answer).toMatchObject({ paused: true, index: 0, process: null, revoked_step: { name: 'one' } });
  await fleet.worker();
  const other = await fleet.start({ other: {} });
  await fleet.reaches(other, 'SUCCESS');
  expect(fleet.events('start', 'one')).toEqual([]);
  expect((await fleet.engine.show(id)).status).toBe('REVOKED');
  expect((await fleet.engine.resume(id, { actor })).resumed).toBe(true);
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start', 'one')).toHaveLength(1);
});

test('a step that waits as a delayed job can be paused and goes on after a resume', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const gate = fleet.place.path('stable');
  const id = await fleet.start({ one: { postpone_until_file: gate, postpone_ms: 200 } });
  await until(() => fleet.events('start').length >= 2);
  expect((await fleet.engine.pause(id, { actor })).paused).toBe(true);
  await until(async () => (await fleet.engine.fleet()).jobs.failed === 1, {
    what: 'the job to be set aside',
  });
  const runs = fleet.events('start').length;
  await fleet.engine.resume(id, { actor });
  writeFileSync(gate, '');
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').length).toBeGreaterThan(runs);
});

test('a resume does not wait for the time to which its step had been put off', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const gate = fleet.place.path('stable');
  const id = await fleet.start({ one: { postpone_until_file: gate, postpone_ms: 600_000 } });
  await until(async () => (await fleet.engine.fleet()).jobs.delayed === 1, { what: 'the postponed job' });
  expect((await fleet.engine.pause(id, { actor })).process).toBeNull();
  writeFileSync(gate, '');
  await fleet.engine.resume(id, { actor });
  await fleet.reaches(id, 'SUCCESS');
});

test('a pause followed at once by a resume runs the step again, whatever its worker was doing', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  for (let round = 1; round <= 5; round += 1) {
    await until(() => fleet.events('start').length >= round, { what: `run ${round}` });
    const [paused, resumed] = [fleet.engine.pause(id, { actor }), fleet.engine.resume(id, { actor })];
    await paused;
    if (!(await resumed).resumed) await fleet.engine.resume(id, { actor });
  }
  writeFileSync(go, '');
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.prev_task_runs?.length).toBe(5);
});

test('of two resumes at once one starts a run; the lock ends by itself when no worker takes it up', async () => {
  const fleet = await makeFleet({ workflow: { resume_lock_seconds: 0.5 } });
  const id = await fleet.start({ one: {} });
  await fleet.engine.pause(id, { actor });
  const answers = await Promise.all([fleet.engine.resume(id, { actor }), fleet.engine.resume(id, { actor })]);
  expect(answers.filter((answer) => answer.resumed)).toHaveLength(1);
  await until(async () => (await fleet.engine.resume(id, { actor })).resumed, { what: 'the lock to end' });
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start')).toHaveLength(1);
});

test('a failed step is resumed after its cause is gone', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const id = await fleet.start({ one: { fail: 1, fail_code: 'E_NO_SPACE' }, two: {} });
  await fleet.reaches(id, 'FAILURE');
  expect((await fleet.engine.pause(id, { actor })).paused).toBe(false);
  expect((await fleet.engine.resume(id, { actor })).resumed).toBe(true);
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.prev_task_runs).toHaveLength(1);
  expect((await fleet.engine.resume(id, { actor })).resumed).toBe(false);
});

test('force gives a step that was never run its args', async () => {
  const fleet = await makeFleet();
  const id = await fleet.start({ one: {} });
  expect((await fleet.engine.resume(id, { actor })).resumed).toBe(false);
  expect((await fleet.engine.resume(id, { actor, force: true, args: [99] })).resumed).toBe(true);
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map((entry) => entry.args)).toEqual([[99]]);
});

test('revoke takes the rest of the chain out of the queue; a resume puts it back', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: {}, two: { until_file: go }, three: {} });
  await until(() => fleet.events('start', 'two')[0]);
  expect(await fleet.engine.revoke(id, { actor })).toMatchObject({ paused: true, process: 'stopped' });
  await until(async () => Object.values((await fleet.engine.fleet()).jobs).every((count) => count === 0), {
    what: 'an empty queue',
  });
  expect((await fleet.store.records.workflow(id))?.revoked_at).not.toBeNull();
  await fleet.engine.resume(id, { actor });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map((entry) => entry.step)).toEqual(['one', 'two', 'two', 'three']);
});

test('delete stops the running task, empties the queue and answers 1, then 0', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const id = await fleet.start({ one: { until_file: fleet.place.path('never') }, two: {} });
  const { pid } = await until(() => fleet.events('start')[0]);
  expect(await fleet.engine.delete(id, { actor })).toEqual({ deleted_count: 1 });
  expect(exists(pid)).toBe(false);
  expect(await fleet.engine.delete(id, { actor })).toEqual({ deleted_count: 0 });
  await expect(fleet.engine.show(id)).rejects.toMatchObject({ code: 'E_WORKFLOW_NOT_FOUND' });
  await until(async () => Object.values((await fleet.engine.fleet()).jobs).every((count) => count === 0), {
    what: 'an empty queue',
  });
  const log = await fleet.store.records.auditLog({ subject: `workflow:${id}` });
  expect(log[0]).toMatchObject({ action: 'workflow.delete', actor });
});

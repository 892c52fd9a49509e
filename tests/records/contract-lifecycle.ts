import { expect, test } from 'vitest';
import {
  begin,
  claimOf,
  failure,
  look,
  makeWorkflow,
  type OpenStore,
  openBench,
  policy,
  succeed,
} from './fixture.ts';

const pause = { actor: 'ana', take_out: false };
const revoke = { actor: 'ana', take_out: true };
const resume = { actor: 'ben', force: false, lock_seconds: 60 };

/** Pause, revoke, resume: what people do to a workflow. */
export function lifecycleBattery(open: OpenStore): void {
  test('pausing a running step answers the attempt to stop, and nothing late overwrites REVOKED', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await succeed(records, workflow, 1);
    const { key } = await begin(records, workflow, 1, 'w5');
    await records.running(key, { pid: 70, pgid: 71, hostname: 'node-1' });
    expect(await records.pause(workflow.id, pause)).toEqual({
      paused: true,
      revoked_step: { task_id: key.task_id, task: 'task_of_second', name: 'second' },
      running: { ...key, worker: 'w5', host: 'node-1', pgid: 71 },
      index: 1,
    });
    expect(await records.progress(key, { name: 'late' })).toBe(false);
    expect(await records.finish(key, { outcome: 'success', result: [7] })).toBeNull();
    expect(await records.isCurrent(key)).toBe(false);
    const seen = await look(records, workflow.id);
    expect(seen.status).toBe('REVOKED');
    expect(seen.runs[1]).toMatchObject({
      status: 'REVOKED',
      result: { exc_type: 'TaskRevokedError', exc_message: ['terminated'] },
    });
    expect((await records.attempts(key.task_id))[0]).toMatchObject({
      outcome: 'revoked',
      reason: 'paused by ana',
    });
    expect(await records.claim(claimOf(workflow, 1), policy)).toEqual({
      verdict: 'stopped',
      status: 'REVOKED',
    });
    expect(await records.claim(claimOf(workflow, 2), policy)).toEqual({ verdict: 'early' });
    expect(await records.auditLog({ subject: `workflow:${workflow.id}` })).toMatchObject([
      { actor: 'ana', action: 'workflow.pause', details: { step: 'second', running: true } },
    ]);
  });

  test.each([0, 1])('a step that has not begun (%i) can be paused and resumed', async (index) => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await succeed(records, workflow, index);
    const answer = await records.pause(workflow.id, pause);
    expect(answer).toMatchObject({ paused: true, running: null, index });
    expect(answer.revoked_step?.task_id).toBe(workflow.steps[index]?.next_task_id);
    expect(await records.claim(claimOf(workflow, index), policy)).toEqual({
      verdict: 'stopped',
      status: 'REVOKED',
    });
    expect((await look(records, workflow.id)).status).toBe('REVOKED');
    expect(await records.resume(workflow.id, resume)).toMatchObject({ resumed: true, index });
    expect((await begin(records, workflow, index)).run.args).toEqual([index === 0 ? 7 : 0]);
  });

  test('who pauses a run by its task id pauses no other', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await succeed(records, workflow, 1);
    const [first, second] = workflow.steps.map((step) => step.next_task_id);
    if (first === undefined || second === undefined) throw new Error('no steps');
    expect(await records.pause(workflow.id, { ...pause, task_id: first })).toEqual({
      paused: false,
      running: null,
      index: 1,
    });
    expect((await look(records, workflow.id)).runs.map((run) => run?.status)).toEqual([
      'SUCCESS',
      undefined,
      undefined,
    ]);
    expect(await records.pause(workflow.id, { ...pause, task_id: second })).toMatchObject({ paused: true });
  });

  test('a waiting retry and a postponed step can be paused', async () => {
    const { records } = await openBench(open);
    for (const outcome of ['retry', 'postponed'] as const) {
      const workflow = makeWorkflow();
      await records.createWorkflow(workflow);
      const { key } = await begin(records, workflow);
      await records.finish(key, {
        outcome,
        error: failure,
        next_attempt_at: new Date().toISOString(),
        reason: 'r',
      });
      expect(await records.pause(workflow.id, pause)).toMatchObject({
        paused: true,
        running: null,
        index: 0,
      });
      expect((await look(records, workflow.id)).runs[0]?.status).toBe('REVOKED');
      expect((await records.attempts(key.task_id))[0]?.outcome).toBe(outcome);
    }
  });

  test('pause refuses what has failed, is paused or is done', async () => {
    const { records } = await openBench(open);
    const failed = makeWorkflow();
    const done = makeWorkflow();
    await records.createWorkflow(failed);
    await records.createWorkflow(done);
    await records.finish((await begin(records, failed)).key, { outcome: 'failure', error: failure });
    await succeed(records, done, 3);
    expect(await records.pause(failed.id, pause)).toEqual({ paused: false, running: null, index: 0 });
    expect(await records.pause(done.id, pause)).toEqual({ paused: false, running: null, index: -1 });
    expect((await look(records, failed.id)).status).toBe('FAILURE');
    expect((await look(records, done.id)).status).toBe('SUCCESS');
    expect(await records.auditLog({ subject: `workflow:${failed.id}` })).toEqual([]);
    await expect(records.pause('no-such', pause)).rejects.toMatchObject({ code: 'E_WORKFLOW_NOT_FOUND' });
    await expect(records.resume('no-such', resume)).rejects.toMatchObject({ code: 'E_WORKFLOW_NOT_FOUND' });
  });

  test('revoke marks the chain as taken out, also when paused before; resume puts it back', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await records.pause(workflow.id, pause);
    expect((await look(records, workflow.id)).workflow.revoked_at).toBeNull();
    const because = { ...revoke, reason: 'not wanted' };
    expect(await records.pause(workflow.id, because)).toMatchObject({ paused: false, index: 0 });
    expect((await look(records, workflow.id)).workflow.revoked_at).toMatch(/Z$/);
    await records.pause(workflow.id, revoke);
    const said = await records.auditLog({ subject: `workflow:${workflow.id}` });
    expect(said.map(({ action }) => action)).toEqual(['workflow.revoke', 'workflow.pause']);
    expect(said[0]?.details).toMatchObject({ reason: 'not wanted' });
    await records.resume(workflow.id, resume);
    expect((await look(records, workflow.id)).workflow.revoked_at).toBeNull();
    expect(await records.pause(workflow.id, revoke)).toMatchObject({ paused: true });
    expect((await look(records, workflow.id)).workflow.revoked_at).toMatch(/Z$/);
  });

  test('resume keeps args and start kwargs under a new task id; the first run is kept', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow({ start_kwargs: { recency_threshold: 5 } });
    await records.createWorkflow(workflow);
    const first = await begin(records, workflow);
    await records.pause(workflow.id, pause);
    expect(await records.resume(workflow.id, resume)).toEqual({
      resumed: true,
      restarted_step: { name: 'first', task: 'task_of_first' },
      running: null,
      index: 0,
    });
    expect((await look(records, workflow.id)).status).toBe('REVOKED');
    const second = await begin(records, workflow);
    expect(second.key.task_id).not.toBe(first.key.task_id);
    expect(second.run).toMatchObject({ args: [7], kwargs: { recency_threshold: 5 }, retries: 0, losses: 0 });
    const found = await records.workflowWithRuns(workflow.id, { prev_runs: true });
    expect(found?.workflow).toMatchObject({ _status: 'STARTED', resume_lock: null });
    expect(found?.workflow.steps[0]?.task_runs.map((run) => run.task_id)).toEqual([
      first.key.task_id,
      second.key.task_id,
    ]);
    expect(found?.last_runs[0]?._id).toBe(second.key.task_id);
    expect(found?.prev_runs?.[0]?.map((run) => run._id)).toEqual([first.key.task_id]);
  });

  test('of two resumes at once, from two connections, one starts a run', async () => {
    const { records, again } = await openBench(open);
    const other = (await again()).records;
    for (let turn = 0; turn < 10; turn++) {
      const workflow = makeWorkflow();
      await records.createWorkflow(workflow);
      await records.pause(workflow.id, pause);
      const answers = await Promise.all([
        records.resume(workflow.id, resume),
        other.resume(workflow.id, resume),
      ]);
      expect(answers.filter((answer) => answer.resumed)).toHaveLength(1);
      await begin(records, workflow);
      expect((await look(records, workflow.id)).workflow.steps[0]?.task_runs).toHaveLength(2);
    }
  });

  test('a resume that no worker takes up expires, and the next one replaces its task id', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await records.pause(workflow.id, pause);
    await records.resume(workflow.id, resume);
    const first = (await look(records, workflow.id)).workflow.steps[0]?.next_task_id;
    expect(await records.resume(workflow.id, resume)).toMatchObject({ resumed: false, index: 0 });
    expect(await records.resume(workflow.id, { ...resume, lock_seconds: 0 })).toMatchObject({
      resumed: true,
    });
    const { key } = await begin(records, workflow);
    expect(key.task_id).not.toBe(first);
  });

  test('a resumed step that has not begun can be paused again', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await records.pause(workflow.id, pause);
    await records.resume(workflow.id, resume);
    expect(await records.liveWorkflows({})).toHaveLength(1);
    expect(await records.pause(workflow.id, pause)).toMatchObject({ paused: true });
    expect(await records.liveWorkflows({})).toEqual([]);
    expect(await records.claim(claimOf(workflow), policy)).toEqual({ verdict: 'stopped', status: 'REVOKED' });
    expect(await records.resume(workflow.id, resume)).toMatchObject({ resumed: true });
  });

  test('only force resumes what has neither failed nor been paused; args are for a step that has never begun', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await succeed(records, workflow, 1);
    expect(await records.resume(workflow.id, resume)).toMatchObject({ resumed: false, index: 1 });
    expect(await records.resume(workflow.id, { ...resume, force: true, args: [99] })).toMatchObject({
      resumed: true,
      restarted_step: { name: 'second' },
    });
    const first = await begin(records, workflow, 1);
    expect(first.run.args).toEqual([99]);
    await records.pause(workflow.id, pause);
    await records.resume(workflow.id, resume);
    expect((await begin(records, workflow, 1)).run.args).toEqual([99]);
    await records.pause(workflow.id, pause);
    await records.resume(workflow.id, { ...resume, args: [100, 'x'] });
    expect((await begin(records, workflow, 1)).run.args).toEqual([99]);
    const [entry] = await records.auditLog({ subject: `workflow:${workflow.id}` });
    expect(entry?.details).not.toHaveProperty('args');
  });

  test('args of a resume go to a step that was paused before it began, also when it is paused once more', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await records.pause(workflow.id, pause);
    await records.resume(workflow.id, { ...resume, args: [98] });
    await records.pause(workflow.id, pause);
    await records.resume(workflow.id, { ...resume, args: [99] });
    await records.pause(workflow.id, pause);
    await records.resume(workflow.id, resume);
    expect((await begin(records, workflow)).run.args).toEqual([99]);
  });

  test('force on a running step ends its attempt and answers it', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    expect(await records.resume(workflow.id, { ...resume, force: true })).toMatchObject({
      resumed: true,
      running: { ...key, worker: 'w1' },
    });
    // What its runs say until it begins again: else who asks for the revoked ones would not see it.
    expect((await look(records, workflow.id)).status).toBe('REVOKED');
    expect(await records.finish(key, { outcome: 'success', result: [7] })).toBeNull();
    expect((await begin(records, workflow)).key.task_id).not.toBe(key.task_id);
    // A lock that stays would count the workflow as live for ever.
    expect((await look(records, workflow.id)).workflow).toMatchObject({
      _status: 'STARTED',
      resume_lock: null,
    });
  });

  test('a finished workflow is not resumed, not even by force', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await succeed(records, workflow, 3);
    expect(await records.resume(workflow.id, { ...resume, force: true })).toMatchObject({
      resumed: false,
      index: -1,
    });
    expect((await look(records, workflow.id)).status).toBe('SUCCESS');
  });

  test('a priority is that of the pending step and those after it, with who gave it; nothing is left to change in the end', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await succeed(records, workflow, 1);
    const options = { actor: 'ana', priority: 8 };
    expect(await records.prioritize(workflow.id, options)).toEqual({ index: 1 });
    const [first, ...later] =
      (await records.workflow(workflow.id))?.steps.map(({ priority }) => priority) ?? [];
    expect([first, new Set(later)]).toEqual([1, new Set([8])]);
    const [entry] = await records.auditLog({ subject: `workflow:${workflow.id}` });
    expect(entry).toMatchObject({ actor: 'ana', action: 'workflow.prioritize', details: { from: 2, to: 8 } });
    for (const position of [...workflow.steps.keys()].slice(1)) {
      const { key } = await begin(records, workflow, position);
      await records.finish(key, { outcome: 'success', result: [7] });
    }
    expect(await records.prioritize(workflow.id, options)).toEqual({ index: -1 });
    await expect(records.prioritize('none', options)).rejects.toMatchObject({ code: 'E_WORKFLOW_NOT_FOUND' });
  });
}

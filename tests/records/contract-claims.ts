import { expect, test } from 'vitest';
import { LongshoreError, reportOf } from '../../workers/errors.ts';
import {
  begin,
  claimOf,
  failure,
  look,
  makeWorkflow,
  type OpenStore,
  openBench,
  policy,
  startProcess,
  succeed,
  times,
} from './fixture.ts';

const later = '2030-01-01T00:00:00.000Z';

/** Claim, report, finish: what a worker does with a step. */
export function claimBattery(open: OpenStore): void {
  test('a first claim starts the run with the workflow’s args and the reserved kwargs on top', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow({
      start_kwargs: { a: 'start', b: 'start', step: 'forged', app_id: 'forged' },
      steps: [{ name: 'first', kwargs: { a: 'step', c: 'step', workflow_id: 'forged' } }],
    });
    await records.createWorkflow(workflow);
    const { run, key, orphan } = await begin(records, workflow);
    expect(orphan).toBeNull();
    expect(key).toEqual({ task_id: workflow.steps[0]?.next_task_id, number: 1 });
    expect(run).toMatchObject({
      status: 'STARTED',
      args: [7],
      retries: 0,
      losses: 0,
      worker: 'w1',
      name: 'task_of_first',
    });
    expect(run.kwargs).toEqual({
      a: 'start',
      b: 'start',
      c: 'step',
      workflow_id: workflow.id,
      step: 'first',
      app_id: 'longshore-test',
    });
    const seen = await look(records, workflow.id);
    expect(seen.status).toBe('STARTED');
    expect(seen.workflow.steps[0]?.task_runs).toEqual([{ task_id: key.task_id, date_start: run.date_start }]);
    expect(seen.workflow.steps[0]?.kwargs).toEqual({ a: 'step', c: 'step', workflow_id: 'forged' });
  });

  test('the next step gets the first return value only', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const first = await begin(records, workflow);
    await records.finish(first.key, { outcome: 'success', result: [42, ['x']] });
    const second = await begin(records, workflow, 1);
    expect(second.run.args).toEqual([42]);
    expect((await look(records, workflow.id)).runs[0]?.result).toEqual([42, ['x']]);
  });

  test('a claim before its turn is early, of nothing is missing, of a finished step hands on the result', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    expect(await records.claim(claimOf(workflow, 1), policy)).toEqual({ verdict: 'early' });
    expect(await records.claim(claimOf({ id: 'no-such' }), policy)).toEqual({ verdict: 'missing' });
    expect(await records.claim(claimOf(workflow, 3), policy)).toEqual({ verdict: 'missing' });
    await succeed(records, workflow, 1);
    expect(await records.claim(claimOf(workflow), policy)).toEqual({ verdict: 'done', result: [0] });
    expect((await look(records, workflow.id)).workflow.steps[0]?.task_runs).toHaveLength(1);
  });

  test('three retries keep one run under one task id, each attempt with its reason', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    for (let turn = 0; turn < 3; turn++) {
      const { key, run } = await begin(records, workflow);
      expect(run).toMatchObject({ retries: turn, result: null, traceback: null });
      await records.finish(key, {
        outcome: 'retry',
        error: failure,
        next_attempt_at: later,
        reason: `try ${turn}`,
      });
      const seen = await look(records, workflow.id);
      expect(seen.status).toBe('STARTED');
      expect(seen.runs[0]).toMatchObject({ status: 'RETRY', traceback: failure.traceback });
      expect(seen.runs[0]?.result).toMatchObject({
        exc_type: 'E_IO',
        exc_message: ['read of /x failed'],
        fields: { path: '/x' },
      });
    }
    const { key, run } = await begin(records, workflow);
    expect(run.retries).toBe(3);
    await records.finish(key, { outcome: 'success', result: [7] });
    const attempts = await records.attempts(key.task_id);
    expect(attempts.map(({ number, outcome, reason }) => [number, outcome, reason])).toEqual([
      [1, 'retry', 'try 0'],
      [2, 'retry', 'try 1'],
      [3, 'retry', 'try 2'],
      [4, 'success', null],
    ]);
    expect(attempts[0]).toMatchObject({
      error: failure,
      next_attempt_at: later,
      worker: 'w1',
      host: 'node-1',
    });
    expect((await look(records, workflow.id)).workflow.steps[0]?.task_runs).toHaveLength(1);
  });

  test('a failure fails run and workflow and stops further claims', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    expect(await records.finish(key, { outcome: 'failure', error: failure })).not.toBeNull();
    const seen = await look(records, workflow.id);
    expect(seen.status).toBe('FAILURE');
    expect(seen.runs[0]?.date_done).toMatch(/^\d{4}-.*Z$/);
    expect(await records.claim(claimOf(workflow), policy)).toEqual({ verdict: 'stopped', status: 'FAILURE' });
  });

  test('a failure is kept with whatever its fields hold', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    // As an inspection lists what it found.
    const fields = { problems: [['pipe', 'is no file'], [['deep']]], 'a.b': { $ref: 'x', $id: 1 } };
    const error = { ...failure, fields };
    expect(await records.finish(key, { outcome: 'failure', error })).not.toBeNull();
    expect((await look(records, workflow.id)).runs[0]?.result).toMatchObject({ fields });
    expect(await records.attempts(key.task_id)).toMatchObject([{ outcome: 'failure', error }]);
  });

  test('success of the last step, and of no other, completes the workflow', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await succeed(records, workflow, 2);
    expect((await look(records, workflow.id)).status).toBe('STARTED');
    const { key } = await begin(records, workflow, 2);
    await records.finish(key, { outcome: 'success', result: [7] });
    expect((await look(records, workflow.id)).status).toBe('SUCCESS');
  });

  test('what is to follow a workflow follows its last step, and no other', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow({ steps: [{ name: 'first' }, { name: 'last' }] });
    const followers = [makeWorkflow({ name: 'one' }), makeWorkflow({ name: 'two' })];
    await records.createWorkflow(workflow);
    for (const [index, total] of [
      [0, 1],
      [1, 3],
    ] as const) {
      const { key } = await begin(records, workflow, index);
      await records.finish(key, { outcome: 'success', result: [7], then: followers });
      expect((await records.listWorkflows({})).total).toBe(total);
    }
    for (const { id, name } of followers) expect(await records.workflow(id)).toMatchObject({ name });
  });

  test('postponing counts as neither retry nor loss and keeps the last progress in sight', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    for (let turn = 0; turn < 5; turn++) {
      const { key, run } = await begin(records, workflow);
      expect(run).toMatchObject({ retries: 0, losses: 0 });
      await records.running(key, { pid: 1, pgid: 1, hostname: 'h' });
      if (turn > 0)
        expect((await look(records, workflow.id)).runs[0]?.result).toEqual({ name: `seen ${turn - 1}` });
      const finish = { reason: 'growing', next_attempt_at: later, result: { name: `seen ${turn}` } };
      expect(await records.finish(key, { outcome: 'postponed', ...finish })).not.toBeNull();
      expect(await records.progress(key, { name: 'late' })).toBe(false);
      expect((await look(records, workflow.id)).runs[0]?.status).toBe('STARTED');
    }
    const { key } = await begin(records, workflow);
    expect(key.number).toBe(6);
    const attempts = await records.attempts(key.task_id);
    expect(attempts.slice(0, 5).every((attempt) => attempt.outcome === 'postponed')).toBe(true);
  });

  test('pid and host are the first result, progress replaces them', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    expect(await records.running(key, { pid: 12, pgid: 13, hostname: 'node-9' })).toBe(true);
    expect((await look(records, workflow.id)).runs[0]?.result).toEqual({ pid: 12, hostname: 'node-9' });
    expect((await records.attempts(key.task_id))[0]?.pgid).toBe(13);
    const progress = {
      name: 'tar',
      fraction_done: null,
      done: 5,
      total: null,
      units: 'bytes',
      time_remaining_sec: null,
      wt_avg_rate: null,
      avg_rate: null,
    };
    expect(await records.progress(key, progress)).toBe(true);
    expect((await look(records, workflow.id)).runs[0]).toMatchObject({ status: 'STARTED', result: progress });
  });

  test('a process that waits already is named by the claim, as running would name it', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const code = { digest: '0123456789abcdef', package: '1.2.3', commit: null };
    const first = { pid: 12, pgid: 13, hostname: 'node-9', code };
    const claim = async (process: typeof first) => {
      const verdict = await records.claim({ ...claimOf(workflow), process }, policy);
      if (verdict.verdict !== 'run') throw new Error(`not claimed: ${verdict.verdict}`);
      return verdict.key;
    };
    const key = await claim(first);
    expect((await look(records, workflow.id)).runs[0]?.result).toEqual({ pid: 12, hostname: 'node-9' });
    expect(await records.attempts(key.task_id)).toMatchObject([{ pgid: 13, code }]);
    const progress = { name: 'seen' };
    await records.progress(key, progress);
    await records.finish(key, {
      outcome: 'postponed',
      reason: 'x',
      next_attempt_at: new Date().toISOString(),
    });
    await claim({ ...first, pid: 14, pgid: 15 });
    // What it says last stays in sight until the next look says something.
    expect((await look(records, workflow.id)).runs[0]?.result).toEqual(progress);
    expect((await records.attempts(key.task_id)).map(({ pgid }) => pgid)).toEqual([13, 15]);
    expect((await records.pause(workflow.id, { actor: 'ana', take_out: true })).running).toMatchObject({
      pgid: 15,
    });
  });

  test('what kept a postponed attempt from its work stays with the attempt, and fails nothing', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    const error = reportOf(new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'the mount is away'));
    const next_attempt_at = new Date().toISOString();
    await records.finish(key, { outcome: 'postponed', reason: 'waits', next_attempt_at, error });
    const [attempt] = await records.attempts(key.task_id);
    expect(attempt).toMatchObject({
      outcome: 'postponed',
      reason: 'waits',
      error: { code: 'E_ARCHIVE_UNAVAILABLE' },
    });
    expect((await look(records, workflow.id)).runs[0]).toMatchObject({ status: 'STARTED', retries: 0 });
    await begin(records, workflow);
    expect((await look(records, workflow.id)).runs[0]).toMatchObject({ status: 'STARTED', retries: 0 });
  });

  test('an attempt keeps the code that it ran, and the next one has its own', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const where = { pid: 12, pgid: 13, hostname: 'node-9' };
    const code = { digest: '0123456789abcdef', package: '1.2.3', commit: 'c0ffee' };
    const { key } = await begin(records, workflow);
    expect((await records.attempts(key.task_id))[0]?.code).toBeNull();
    await records.running(key, { ...where, code });
    await records.finish(key, {
      outcome: 'postponed',
      reason: 'x',
      next_attempt_at: new Date().toISOString(),
    });
    const again = await begin(records, workflow);
    const newer = { ...code, digest: 'fedcba9876543210', commit: null };
    await records.running(again.key, { ...where, code: newer });
    expect((await records.attempts(key.task_id)).map((attempt) => attempt.code)).toEqual([code, newer]);
  });

  test('of many claims of one step by 4 processes one attempt is current: the last one', async () => {
    const { records, place } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const each = times(open, 50);
    const all = 4 * each;
    const claimers = [1, 2, 3, 4].map((n) =>
      startProcess(place, 'claim', workflow.id, String(each), `w${n}`),
    );
    expect(await Promise.all(claimers.map(({ ended }) => ended))).toEqual([0, 0, 0, 0]);
    const keys = claimers.flatMap(({ lines }) => lines) as { task_id: string; number: number }[];
    expect(new Set(keys.map((key) => key.number)).size).toBe(all);
    expect(Math.max(...keys.map((key) => key.number))).toBe(all);
    const current = [];
    for (const key of keys) if (await records.isCurrent(key)) current.push(key.number);
    expect(current).toEqual([all]);
    expect((await look(records, workflow.id)).runs[0]?.losses).toBe(all - 1);
  });
}

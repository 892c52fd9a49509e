import { expect, test } from 'vitest';
import type { LiveWorkflow, OldWorkflow, WorkflowDocument } from '../../workers/records/contract.ts';
import {
  begin,
  failure,
  look,
  makeWorkflow,
  type OpenStore,
  openBench,
  startProcess,
  succeed,
  times,
} from './fixture.ts';

/** Documents: kept whole, listed, counted, removed. */
export function workflowBattery(open: OpenStore): void {
  test('a document comes back as it was created, and a repeated create changes nothing', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow({
      description: 'Ünïcode “quoted” \n newline',
      start_kwargs: { deep: { list: [1, null, 'x'] } },
      steps: [{ name: 'await stability', kwargs: { wait_seconds: 0.5 }, priority: 9 }, { name: 'b' }],
    });
    await records.createWorkflow(workflow);
    expect(await records.workflow(workflow.id)).toEqual(workflow);
    await records.createWorkflow({ ...workflow, name: 'other', steps: [] });
    expect(await records.workflow(workflow.id)).toEqual(workflow);
    expect(await records.workflow('no-such')).toBeNull();
    expect(await records.workflowWithRuns('no-such')).toBeNull();
  });

  test('of two starts on one dataset at the same moment one is made and the other is told which', async () => {
    const { records, again } = await openBench(open);
    const other = (await again()).records;
    for (let turn = 0; turn < 10; turn++) {
      const [one, two] = [
        makeWorkflow({ dataset_id: turn }),
        makeWorkflow({ dataset_id: turn, name: 'stage' }),
      ];
      const [first, second] = await Promise.all([
        records.createWorkflow(one, { alone: true }),
        other.createWorkflow(two, { alone: true }),
      ]);
      expect([first?.id ?? null, second?.id ?? null]).toEqual(
        first === null ? [null, one.id] : [two.id, null],
      );
      expect((await records.listWorkflows({ dataset_id: turn })).total).toBe(1);
      const [made, refused] = first === null ? [one, two] : [two, one];
      expect(await records.createWorkflow(made, { alone: true })).toBeNull();
      expect((await records.createWorkflow(refused, { alone: true }))?.id).toBe(made.id);
      await records.pause(made.id, { actor: 'ana', take_out: true });
      expect(await records.createWorkflow(refused, { alone: true })).toBeNull();
      expect((await records.listWorkflows({ dataset_id: turn })).total).toBe(2);
    }
  });

  test('old workflows come in the order of their creation, page by page, each once', async () => {
    const { records } = await openBench(open);
    const made = Array.from({ length: 9 }, (_, n) =>
      makeWorkflow({
        name: n === 3 ? 'qc' : 'integrated',
        app_id: n === 4 ? 'other' : 'longshore-test',
        created_at: new Date(1_700_000_000_000 + Math.floor(n / 4)).toISOString(),
      }),
    );
    for (const workflow of made) await records.createWorkflow(workflow);
    const before = made[8]?.created_at as string;
    const query = { app_id: 'longshore-test', names: ['integrated', 'stage'], created_before: before };
    const seen: OldWorkflow[] = [];
    for (let page: OldWorkflow[] | null = null; page === null || page.length === 2; seen.push(...page)) {
      const after = seen.at(-1);
      page = await records.oldWorkflows(query, { ...(after === undefined ? {} : { after }), limit: 2 });
    }
    const wanted = [0, 1, 2, 5, 6, 7].map((n) => made[n] as WorkflowDocument);
    const inOrder = wanted.toSorted((one, other) =>
      `${one.created_at} ${one.id}` < `${other.created_at} ${other.id}` ? -1 : 1,
    );
    expect(seen).toEqual(
      inOrder.map(({ id, name, dataset_id, resume_lock, created_at, _status: status }) => ({
        id,
        name,
        dataset_id,
        resume_lock,
        created_at,
        status,
      })),
    );
    expect(await records.oldWorkflows({ ...query, names: [] }, { limit: 2 })).toEqual([]);
  });

  test('a workflow that was resumed is at work again before a worker takes it up', async () => {
    const { records } = await openBench(open);
    const paused = makeWorkflow({ dataset_id: 1 });
    await records.createWorkflow(paused);
    await records.pause(paused.id, { actor: 'ana', take_out: false });
    await records.resume(paused.id, { actor: 'ana', force: false, lock_seconds: 60 });
    const other = makeWorkflow({ dataset_id: 1 });
    expect((await records.createWorkflow(other, { alone: true }))?.id).toBe(paused.id);
  });

  test('lists are newest first, ten by default, with totals, and filter by everything in the query', async () => {
    const { records } = await openBench(open);
    const ids: string[] = [];
    for (let n = 0; n < 25; n++) {
      const workflow = makeWorkflow({
        dataset_id: n % 2,
        name: n < 5 ? 'stage' : 'integrated',
        app_id: n === 24 ? 'other' : 'longshore-test',
        created_at: new Date(1_700_000_000_000 + Math.floor(n / 2)).toISOString(),
      });
      await records.createWorkflow(workflow);
      ids.push(workflow.id);
    }
    const list = async (query: Parameters<typeof records.listWorkflows>[0]) => {
      const { total, results } = await records.listWorkflows(query);
      return { total, ids: results.map(({ workflow }) => workflow.id) };
    };
    const newest = ids.toReversed();
    expect(await list({})).toEqual({ total: 25, ids: newest.slice(0, 10) });
    expect(await list({ skip: 20 })).toEqual({ total: 25, ids: newest.slice(20) });
    expect(await list({ limit: 3, sort_order_asc: true })).toEqual({ total: 25, ids: ids.slice(0, 3) });
    expect(await list({ app_id: 'other' })).toEqual({ total: 1, ids: [ids[24]] });
    expect((await list({ dataset_id: 0, name: 'stage' })).ids).toEqual([ids[4], ids[2], ids[0]]);
    expect(await list({ workflow_ids: [ids[3] as string, 'unknown', ids[1] as string] })).toEqual({
      total: 2,
      ids: [ids[3], ids[1]],
    });
    expect(await list({ workflow_ids: [] })).toEqual({ total: 0, ids: [] });
    const whole = ids[2] as string;
    expect(await list({ id_prefix: whole.slice(0, 13) })).toEqual({ total: 1, ids: [whole] });
    expect(await list({ id_prefix: `${whole.slice(0, 8)}-0000-0000-0000` })).toEqual({ total: 0, ids: [] });
    expect((await list({ names: ['stage', 'delete'] })).ids).toEqual(ids.slice(0, 5).toReversed());
    expect((await list({ names: ['delete', 'integrated'] })).total).toBe(20);
    expect(await list({ names: [] })).toEqual({ total: 0, ids: [] });
    const created_before = new Date(1_700_000_000_003).toISOString();
    expect((await list({ created_before })).ids).toEqual(ids.slice(0, 6).toReversed());
    expect((await list({ created_before, names: ['stage'], app_id: 'other' })).total).toBe(0);
  });

  test('status groups and counts follow what happened, with zeros for what did not', async () => {
    const { records } = await openBench(open);
    const create = async () => {
      const workflow = makeWorkflow();
      await records.createWorkflow(workflow);
      return workflow;
    };
    const waiting = await create();
    const running = await create();
    const done = await create();
    const failed = await create();
    const paused = await create();
    await begin(records, running);
    await succeed(records, done, 3);
    await records.finish((await begin(records, failed)).key, { outcome: 'failure', error: failure });
    await records.pause(paused.id, { actor: 'ana', take_out: false });
    const idsOf = async (status: 'DONE' | 'ACTIVE' | 'EXCEPTION' | 'PENDING') =>
      (await records.listWorkflows({ status, sort_order_asc: true })).results.map(
        ({ workflow }) => workflow.id,
      );
    expect(await idsOf('DONE')).toEqual([done.id, failed.id, paused.id]);
    expect(await idsOf('ACTIVE')).toEqual([waiting.id, running.id]);
    expect(await idsOf('EXCEPTION')).toEqual([failed.id, paused.id]);
    expect(await idsOf('PENDING')).toEqual([waiting.id]);
    const failures = async (revoked: boolean) =>
      (await records.listWorkflows({ status: 'FAILURE', revoked })).results.map(
        ({ workflow }) => workflow.id,
      );
    expect([await failures(false), await failures(true)]).toEqual([[failed.id], []]);
    expect(await records.pause(failed.id, { actor: 'ana', take_out: true })).toMatchObject({ paused: false });
    expect([await failures(false), await failures(true)]).toEqual([[], [failed.id]]);
    expect(await records.countWorkflows('longshore-test')).toEqual({
      PENDING: 1,
      STARTED: 1,
      SUCCESS: 1,
      FAILURE: 1,
      REVOKED: 1,
    });
    expect(await records.countWorkflows('nobody')).toEqual({
      PENDING: 0,
      STARTED: 0,
      SUCCESS: 0,
      FAILURE: 0,
      REVOKED: 0,
    });
  });

  test('live workflows are those that must be in the queue, with the step that is next, in pages', async () => {
    const { records } = await openBench(open);
    const workflows = Array.from({ length: 7 }, (_, n) => makeWorkflow({ id: `wf-${n}` }));
    for (const workflow of workflows) await records.createWorkflow(workflow);
    const pick = (n: number) => workflows[n] as (typeof workflows)[number];
    await begin(records, pick(1));
    await succeed(records, pick(2), 2);
    await succeed(records, pick(3), 3);
    for (const n of [4, 5]) {
      await succeed(records, pick(n), 1);
      await records.pause(`wf-${n}`, { actor: 'ana', take_out: false });
    }
    await records.resume('wf-5', { actor: 'ana', force: false, lock_seconds: 60 });
    await records.finish((await begin(records, pick(6))).key, { outcome: 'failure', error: failure });
    // An earlier failure of a step that has succeeded since does not make it pending again.
    const mended = makeWorkflow({ id: 'wf-7' });
    await records.createWorkflow(mended);
    await records.finish((await begin(records, mended)).key, { outcome: 'failure', error: failure });
    await records.resume('wf-7', { actor: 'ana', force: false, lock_seconds: 60 });
    await succeed(records, mended, 1);
    const seen: LiveWorkflow[] = [];
    for (;;) {
      const last = seen.at(-1)?.id;
      const page = await records.liveWorkflows({ limit: 2, ...(last === undefined ? {} : { after: last }) });
      seen.push(...page);
      if (page.length < 2) break;
    }
    expect(seen.map(({ id, index }) => [id, index])).toEqual([
      ['wf-0', 0],
      ['wf-1', 0],
      ['wf-2', 2],
      ['wf-5', 1],
      ['wf-7', 1],
    ]);
  });

  test('delete removes the workflow, its runs, attempts and logs, once', async () => {
    const { records } = await openBench(open);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    const process = await records.registerProcess({
      workflow_id: workflow.id,
      step: 'first',
      task_id: key.task_id,
      pid: 1,
      hostname: 'h',
      start_time: new Date().toISOString(),
      tags: { args: ['x'] },
    });
    const line = { timestamp: 't', level: 'stdout' as const, message: 'm' };
    await records.appendLogs(process, [line]);
    expect(await records.deleteWorkflow(workflow.id)).toBe(1);
    expect(await records.deleteWorkflow(workflow.id)).toBe(0);
    expect(await records.workflow(workflow.id)).toBeNull();
    expect(await records.attempts(key.task_id)).toEqual([]);
    expect(await records.logs({ task_id: key.task_id })).toEqual([]);
    await expect(records.appendLogs(process, [line])).rejects.toMatchObject({ code: 'E_WORKFLOW_NOT_FOUND' });
    expect(await records.finish(key, { outcome: 'success', result: [7] })).toBeNull();
  });

  test('unless it runs: what has begun or was resumed stays whole, what waits or has ended goes', async () => {
    const { records } = await openBench(open);
    const create = async () => {
      const workflow = makeWorkflow();
      await records.createWorkflow(workflow);
      return workflow;
    };
    const [waiting, running, done, paused, resumed] = [
      await create(),
      await create(),
      await create(),
      await create(),
      await create(),
    ];
    const { key } = await begin(records, running);
    await succeed(records, done, 3);
    for (const { id } of [paused, resumed]) await records.pause(id, { actor: 'ana', take_out: false });
    await records.resume(resumed.id, { actor: 'ana', force: false, lock_seconds: 60 });
    const remove = (id: string) => records.deleteWorkflow(id, { unless_running: true });
    for (const { id } of [running, resumed]) {
      const before = await records.workflowWithRuns(id);
      expect(await remove(id)).toBe(0);
      expect(await records.workflowWithRuns(id)).toEqual(before);
    }
    expect(await records.isCurrent(key)).toBe(true);
    for (const { id } of [waiting, done, paused]) expect(await remove(id)).toBe(1);
    expect((await records.listWorkflows({})).total).toBe(2);
    expect(await remove('no-such')).toBe(0);
  });

  test('what a task takes is told by runs that succeeded at once, newest first', async () => {
    const { records } = await openBench(open);
    const make = async (dataset_id: number | null, task = 'measured') => {
      const workflow = makeWorkflow({ dataset_id, steps: [{ name: 'one', task }] });
      await records.createWorkflow(workflow);
      return workflow;
    };
    for (const dataset_id of [1, 2, 3]) await succeed(records, await make(dataset_id), 1);
    await succeed(records, await make(4, 'another'), 1);
    await begin(records, await make(5)); // Still running.
    const failed = await begin(records, await make(6));
    await records.finish(failed.key, { outcome: 'failure', error: failure });
    const tried = await make(7);
    const next_attempt_at = new Date().toISOString();
    const first = await begin(records, tried);
    await records.finish(first.key, { outcome: 'retry', error: failure, reason: 'r', next_attempt_at });
    await succeed(records, tried, 1);
    const postponed = await make(8);
    const waits = await begin(records, postponed);
    await records.finish(waits.key, { outcome: 'postponed', reason: 'not yet', next_attempt_at });
    await succeed(records, postponed, 1);
    const lost = await make(9);
    await records.finish((await begin(records, lost)).key, { outcome: 'lost', reason: 'SIGKILL' });
    await succeed(records, lost, 1);
    const runs = await records.cleanRuns({ task: 'measured', limit: 3 });
    expect(runs.map(({ dataset_id }) => dataset_id)).toEqual([8, 3, 2]);
    // The time of the attempt that did it, not of the wait before it.
    const last = (await records.attempts(waits.key.task_id)).at(-1);
    expect(runs[0]).toEqual({ dataset_id: 8, date_start: last?.date_start, date_done: last?.date_end });
    expect(await records.cleanRuns({ task: 'unheard of', limit: 3 })).toEqual([]);
  });

  test('four processes that run workflows at once lose no run and no status', async () => {
    const { records, place } = await openBench(open);
    const each = times(open, 25);
    const workers = [1, 2, 3, 4].map(() => startProcess(place, 'steps', String(each)));
    expect(await Promise.all(workers.map(({ ended }) => ended))).toEqual([0, 0, 0, 0]);
    const { total, results } = await records.listWorkflows({ limit: 1000, status: 'SUCCESS' });
    expect(total).toBe(4 * each);
    for (const { last_runs } of results) {
      expect(last_runs.map((run) => [run?.status, run?.losses, run?.retries])).toEqual(
        [0, 1, 2].map(() => ['SUCCESS', 0, 0]),
      );
    }
  });

  test('a step that begins while another process ends the one before it costs neither its run', async () => {
    const { records, place } = await openBench(open);
    const names = Array.from({ length: 6 }, (_, at) => ({ name: `step ${at}` }));
    const workflows = Array.from({ length: times(open, 10) }, () => makeWorkflow({ steps: names }));
    for (const workflow of workflows) await records.createWorkflow(workflow);
    const ids = workflows.map(({ id }) => id);
    const workers = ['0', '1'].map((parity) => startProcess(place, 'share', parity, ...ids));
    expect(await Promise.all(workers.map(({ ended }) => ended))).toEqual([0, 0]);
    for (const { id, steps } of workflows) {
      const { status, workflow, runs } = await look(records, id);
      expect(status).toBe('SUCCESS');
      expect(runs.map((run) => run?.status)).toEqual(names.map(() => 'SUCCESS'));
      expect(workflow.steps.map(({ task_runs }) => task_runs.map(({ task_id }) => task_id))).toEqual(
        steps.map(({ next_task_id }) => [next_task_id]),
      );
    }
  });
}

import { expect, inject, onTestFinished, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { begin, claimOf, makeWorkflow, policy, startProcess } from '../records/fixture.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { makeRegistration } from '../catalog/registration.ts';
import { until } from '../support/until.ts';
import { referenceDatabase } from './reference.ts';
import { startWireProxy } from './wire-proxy.ts';

/** A store of our own, and processes that are killed when the server has done the n-th write that they asked for. */
async function killer() {
  const proxy = await startWireProxy(inject('mongodb'));
  const place = await mongoPlace({ mongodb: { url: proxy.url } });
  const direct = { ...place.config, mongodb: { ...place.config.mongodb, url: inject('mongodb') } };
  const store = await openStore(direct);
  onTestFinished(() => store.close());
  let before = 0;
  /** Answers whether it was killed: it had that many writes to do. */
  const killedAfter = async (writes: number, ...args: string[]): Promise<boolean> => {
    const process = startProcess(place, ...args);
    proxy.onWritten = (nth) => nth - before >= writes && process.child.kill('SIGKILL');
    const code = await process.ended;
    before += proxy.writes.length;
    proxy.writes.length = 0;
    return code === null;
  };
  const db = referenceDatabase(place.config);
  const count = (...names: string[]) =>
    Promise.all(names.map((name) => db.collection(name).countDocuments()));
  return { ...store, killedAfter, count };
}

describeMongodb('a process that is killed between two writes to MongoDB', () => {
  test('a registration that was killed after any of its writes is whole after the next one, and once', async () => {
    const { catalog, records, killedAfter } = await killer();
    let kills = 0;
    for (let writes = 1; await killedAfter(writes, 'register-named', `set-${writes}`); writes++) {
      kills += 1;
      const [outcome] = await catalog.register([makeRegistration({ name: `set-${writes}` })], 'next');
      if (outcome === undefined || outcome.outcome === 'errored') throw new Error('not registered');
      const { id } = outcome.dataset;
      const dataset = await catalog.get(id, { states: true, workflows: true });
      expect(dataset.states?.map(({ state }) => state)).toEqual(['REGISTERED']);
      expect(dataset.workflows).toHaveLength(1);
      expect(await records.workflow(dataset.workflows?.[0]?.id ?? '')).toMatchObject({ dataset_id: id });
      expect(await records.auditLog({ subject: `dataset:${id}` })).toHaveLength(1);
    }
    // The number, the dataset, its workflow, its audit entry, the empty outbox.
    expect(kills).toBeGreaterThanOrEqual(4);
    expect((await records.listWorkflows({})).total).toBe((await catalog.list({})).count);
  }, 600_000);

  test('a workflow that is attached takes nothing away that a killed registration has left', async () => {
    const { catalog, records, killedAfter } = await killer();
    // The number, and the dataset.
    expect(await killedAfter(2, 'register-named', 'set')).toBe(true);
    const { name } = makeWorkflow();
    expect(await catalog.attachWorkflow(1, makeWorkflow({ name: 'another' }))).toBe(true);
    expect(await catalog.attachWorkflow(1, makeWorkflow({ name }))).toBe(false);
    const { results } = await records.listWorkflows({ dataset_id: 1 });
    expect(results).toHaveLength(2);
    expect(new Set(results.map(({ workflow }) => workflow.name))).toEqual(new Set(['another', name]));
    expect(await records.auditLog({ subject: 'dataset:1' })).toHaveLength(1);
  });

  test('a workflow whose worker was killed after any write goes on, ends once, and has its follower', async () => {
    const { records, killedAfter } = await killer();
    let kills = 0;
    for (let writes = 1; await killedAfter(writes, 'land', `wf-${writes}`); writes++) {
      kills += 1;
      const id = `wf-${writes}`;
      const next = makeWorkflow({ id: `${id}-next` });
      const live = (await records.liveWorkflows({})).map((workflow) => workflow.id);
      if (live.includes(id)) {
        const answer = await records.claim(claimOf({ id }), policy);
        if (answer.verdict === 'run')
          await records.finish(answer.key, { outcome: 'success', result: [7], then: [next] });
        else expect(answer).toEqual({ verdict: 'done', result: [7] });
      }
      const found = await records.workflowWithRuns(id);
      expect(found?.workflow._status).toBe('SUCCESS');
      expect(found?.workflow.steps[0]?.task_runs).toHaveLength(1);
      expect(found?.last_runs[0]).toMatchObject({ status: 'SUCCESS', result: [7] });
      expect((await records.liveWorkflows({})).map((workflow) => workflow.id)).toContain(next.id);
      expect((await records.listWorkflows({ workflow_ids: [next.id] })).total).toBe(1);
      await begin(records, next);
      await records.deleteWorkflow(next.id);
    }
    expect(kills).toBeGreaterThanOrEqual(6);
  }, 600_000);

  test('each attempt is told once, wherever a claim of the next one was killed', async () => {
    const { records, killedAfter } = await killer();
    let kills = 0;
    for (let writes = 1; ; writes++) {
      const workflow = makeWorkflow();
      await records.createWorkflow(workflow);
      const killed = await killedAfter(writes, 'claim', workflow.id, '4', 'w');
      const numbers = async (task_id: string) =>
        (await records.attempts(task_id)).map(({ number }) => number);
      const task_id = workflow.steps[0]?.next_task_id ?? '';
      const before = await numbers(task_id);
      expect(before).toEqual(before.map((_, at) => at + 1));
      const { key } = await begin(records, workflow);
      expect(await numbers(key.task_id)).toEqual([...before, before.length + 1]);
      if (!killed) break;
      kills += 1;
    }
    // Four claims, the workflow that knows the run, and two attempts that have moved out of it.
    expect(kills).toBeGreaterThanOrEqual(7);
  }, 600_000);

  test('what a prover had said before it was killed takes back nothing that was found after it', async () => {
    const { catalog, killedAfter } = await killer();
    const [outcome] = await catalog.register([makeRegistration({ name: 'set' })], 'test');
    const id = outcome?.outcome === 'created' ? outcome.dataset.id : 0;
    // The copy, and the line that says that it is good; the copy does not know of that yet.
    expect(await killedAfter(2, 'copies', 'disk', '1', String(id))).toBe(true);
    const [said] = await catalog.proofs({ dataset_id: id, limit: 1 });
    if (said === undefined) throw new Error('it was killed before it had said anything');
    const second = Math.floor(Date.now() / 1000); // Ids of lines are ordered by seconds.
    await until(() => Math.floor(Date.now() / 1000) > second);
    const found = { ...said, at: new Date().toISOString(), result: 'mismatch' as const, details: {} };
    await catalog.addProof(found);
    const [copy] = await catalog.copies(id);
    expect(copy).toMatchObject({ finding: found, verified_at: said.at });
    expect(await catalog.fixity({ failed: true })).toMatchObject([{ dataset_id: id, last: found }]);
  });

  test('a start alone on a dataset that was killed after any write is made once, and not again once it is deleted', async () => {
    const { records, killedAfter } = await killer();
    let kills = 0;
    for (let writes = 1; await killedAfter(writes, 'start', `wf-${writes}`, String(writes)); writes++) {
      kills += 1;
      const other = makeWorkflow({ dataset_id: writes });
      const create = async () => (await records.createWorkflow(other, { alone: true }))?.id ?? null;
      const all = async () =>
        (await records.listWorkflows({ dataset_id: writes })).results.map(({ workflow }) => workflow.id);
      expect(await create()).toBe(`wf-${writes}`);
      expect(await all()).toEqual([`wf-${writes}`]);
      expect(await records.deleteWorkflow(`wf-${writes}`)).toBe(1);
      expect(await create()).toBeNull();
      expect(await all()).toEqual([other.id]);
    }
    // Who starts, the workflow, and that it is made.
    expect(kills).toBeGreaterThanOrEqual(3);
  }, 600_000);

  test('a deletion that was killed after any write is finished by the next look, and leaves nothing', async () => {
    const { records, killedAfter, count } = await killer();
    let kills = 0;
    for (let writes = 1; ; writes++) {
      const workflow = makeWorkflow({ id: `wf-${writes}` });
      await records.createWorkflow(workflow);
      const { key } = await begin(records, workflow);
      for (let turn = 0; turn < 2; turn++) await begin(records, workflow);
      const process = await records.registerProcess({
        workflow_id: workflow.id,
        step: 'first',
        task_id: key.task_id,
        pid: 4,
        hostname: 'h',
        start_time: new Date().toISOString(),
        tags: { args: [] },
      });
      await records.appendLogs(process, [{ timestamp: 't', level: 'stdout', message: 'm' }]);
      const belongings = ['celery_taskmeta', 'longshore_attempts', 'longshore_processes', 'longshore_logs'];
      expect((await count(...belongings)).every((one) => one > 0)).toBe(true);
      const killed = await killedAfter(writes, 'delete', workflow.id);
      // From the mark on there is none, for nobody.
      expect(await records.workflow(workflow.id)).toBeNull();
      expect((await records.listWorkflows({})).total).toBe(0);
      expect(Object.values(await records.countWorkflows(workflow.app_id))).toEqual([0, 0, 0, 0, 0]);
      const other = makeWorkflow();
      expect(await records.createWorkflow(other, { alone: true })).toBeNull();
      await records.deleteWorkflow(other.id);
      await records.liveWorkflows({});
      expect(await count('workflow_meta', ...belongings)).toEqual([0, 0, 0, 0, 0]);
      if (!killed) break;
      kills += 1;
    }
    // The mark, processes and lines, attempts, runs, the workflow.
    expect(kills).toBeGreaterThanOrEqual(6);
  }, 600_000);

  test('what was decided is in the audit trail, whatever the next one does, and goes on with a deletion', async () => {
    const { records, killedAfter } = await killer();
    const actor = 'ana';
    const next = {
      resume: (id: string) => records.resume(id, { actor, force: false, lock_seconds: 60 }),
      prioritize: (id: string) => records.prioritize(id, { actor, priority: 2 }),
      delete: (id: string) => records.deleteWorkflow(id),
    };
    for (const action of ['pause', 'prioritize'] as const) {
      for (const [name, act] of Object.entries(next)) {
        const { id } = makeWorkflow({ id: `${action}, then ${name}` });
        await records.createWorkflow(makeWorkflow({ id }));
        if (action === 'prioritize') await records.pause(id, { actor, take_out: false });
        expect(await killedAfter(1, action, id)).toBe(true);
        await act(id);
        const said = await records.auditLog({ subject: `workflow:${id}` });
        expect(said.filter((entry) => entry.actor === 'doomed')).toMatchObject([
          { action: `workflow.${action}` },
        ]);
      }
    }
  });

  test('what follows a workflow is there when that is deleted, wherever its end was killed', async () => {
    const { records, killedAfter } = await killer();
    let ends = 0;
    for (let writes = 1; await killedAfter(writes, 'land', `wf-${writes}`); writes++) {
      const id = `wf-${writes}`;
      const ended = (await records.workflowWithRuns(id))?.last_runs[0]?.status === 'SUCCESS';
      await records.deleteWorkflow(id);
      const { total } = await records.listWorkflows({ workflow_ids: [`${id}-next`] });
      expect(total).toBe(ended ? 1 : 0);
      ends += total;
    }
    // The end, what follows, the empty outbox, the workflow.
    expect(ends).toBeGreaterThanOrEqual(3);
  }, 600_000);
});

import { expect, inject, onTestFinished, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { begin, claimOf, makeWorkflow, policy, startProcess } from '../records/fixture.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { makeRegistration } from '../catalog/registration.ts';
import { until } from '../support/until.ts';
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
  return { ...store, killedAfter };
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
});

/** What one connection does in the very moment between two steps of another one. */
import { expect, inject, onTestFinished, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { begin, claimOf, look, makeWorkflow, policy } from '../records/fixture.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { referenceDatabase } from './reference.ts';
import { startWireProxy, type WireProxy } from './wire-proxy.ts';

const LINE = { timestamp: '2026-01-01T00:00:00.000Z', level: 'stdout' as const, message: 'm\n' };

/** Connections to one database: `other` goes straight to the server, each of `slow` can be held. */
async function connections() {
  const place = await mongoPlace();
  const straight = await openStore(place.config);
  const other = straight.records;
  onTestFinished(() => straight.close());
  const slow = async () => {
    const proxy = await startWireProxy(inject('mongodb'));
    const config = { ...place.config, mongodb: { ...place.config.mongodb, url: proxy.url } };
    const store = await openStore(config);
    onTestFinished(() => store.close());
    return { records: store.records, catalog: store.catalog, proxy };
  };
  const db = referenceDatabase(place.config);
  const count = (...names: string[]) =>
    Promise.all(names.map((name) => db.collection(name).countDocuments()));
  return { other, slow, count, whole: { catalog: straight.catalog, count } };
}

/** A workflow that `other` has recorded, and one slow connection. */
async function recorded() {
  const all = await connections();
  const workflow = makeWorkflow();
  await all.other.createWorkflow(workflow);
  return { ...all, ...(await all.slow()), workflow };
}

/** Once: when the n-th write from now on is about to be sent, or has been done. The connection waits for it. */
function when(proxy: WireProxy, moment: 'onAsked' | 'onWritten', nth: number, work: () => Promise<unknown>) {
  let seen = 0;
  proxy[moment] = () => {
    seen += 1;
    return seen === nth ? work() : undefined;
  };
}

describeMongodb('while another connection is between two steps', () => {
  test('a workflow is deleted: the claim that had read it leaves no run of it', async () => {
    const { other, records, proxy, workflow, count } = await recorded();
    when(proxy, 'onAsked', 1, () => other.deleteWorkflow(workflow.id));
    expect(await records.claim(claimOf(workflow), policy)).toEqual({ verdict: 'missing' });
    expect(await count('workflow_meta', 'celery_taskmeta', 'longshore_attempts')).toEqual([0, 0, 0]);
  });

  test('a workflow is deleted: who pauses it is told, and leaves no run of it', async () => {
    const { other, records, proxy, workflow, count } = await recorded();
    when(proxy, 'onAsked', 1, () => other.deleteWorkflow(workflow.id));
    await expect(records.pause(workflow.id, { actor: 'ana', take_out: true })).rejects.toMatchObject({
      code: 'E_WORKFLOW_NOT_FOUND',
    });
    expect(await count('workflow_meta', 'celery_taskmeta')).toEqual([0, 0]);
  });

  test('what follows a dataset is put in its place and deleted: a late delivery does not bring it back', async () => {
    const { other, slow, whole } = await connections();
    const { catalog, proxy } = await slow();
    const workflow = makeWorkflow();
    // Before it puts the workflow in its place, which it has read from the outbox, another one does, and a person deletes it.
    proxy.onAsked = (_, body) => {
      if (body.insert !== 'workflow_meta') return;
      proxy.onAsked = () => undefined;
      return whole.catalog
        .list({ name: 'late' })
        .then(({ datasets }) => whole.catalog.get(datasets[0]?.id ?? 0))
        .then(() => other.deleteWorkflow(workflow.id));
    };
    const dataset = { name: 'late', type: 'RAW_DATA', origin_path: '/late', create_method: 'TEST' as const };
    const [answer] = await catalog.register([{ dataset, workflow: () => workflow }], 'test');
    expect(answer).toMatchObject({ outcome: 'created' });
    expect(await other.workflow(workflow.id)).toBeNull();
    expect(await other.liveWorkflows({})).toEqual([]);
    expect(await whole.count('workflow_meta')).toEqual([0]);
  });

  test('a step is resumed by force: the claim that had read it begins nothing under the old task id', async () => {
    const { other, records, proxy, workflow } = await recorded();
    when(proxy, 'onAsked', 1, () =>
      other.resume(workflow.id, { actor: 'ana', force: true, lock_seconds: 60 }),
    );
    expect(await records.claim(claimOf(workflow), policy)).toEqual({ verdict: 'stopped', status: 'REVOKED' });
    const { key } = await begin(other, workflow);
    expect(key.task_id).not.toBe(workflow.steps[0]?.next_task_id);
    expect(await other.isCurrent(key)).toBe(true);
  });

  test('a claim has begun what a resume by force replaces: who resumes is told what runs', async () => {
    const { other, slow } = await connections();
    const [claiming, resuming] = [await slow(), await slow()];
    const workflow = makeWorkflow();
    await other.createWorkflow(workflow);
    const resumed = Promise.withResolvers<void>();
    const claimed: Promise<unknown>[] = [];
    when(resuming.proxy, 'onAsked', 1, async () => {
      const begun = Promise.withResolvers<void>();
      when(claiming.proxy, 'onWritten', 1, () => {
        begun.resolve();
        return resumed.promise;
      });
      claimed.push(claiming.records.claim(claimOf(workflow), policy));
      await begun.promise;
    });
    const answer = await resuming.records.resume(workflow.id, {
      actor: 'ana',
      force: true,
      lock_seconds: 60,
    });
    resumed.resolve();
    const task_id = workflow.steps[0]?.next_task_id;
    expect(answer).toMatchObject({ resumed: true, running: { task_id, number: 1, worker: 'w1' } });
    expect(await Promise.all(claimed)).toEqual([{ verdict: 'stopped', status: 'REVOKED' }]);
  });

  test('the step ends that is being paused: the next one is paused', async () => {
    const { other, records, proxy, workflow } = await recorded();
    const { key } = await begin(other, workflow);
    when(proxy, 'onAsked', 1, () => other.finish(key, { outcome: 'success', result: [1] }));
    expect(await records.pause(workflow.id, { actor: 'ana', take_out: false })).toMatchObject({
      paused: true,
      index: 1,
      revoked_step: { name: 'second' },
    });
    expect((await look(other, workflow.id)).runs.map((run) => run?.status)).toEqual([
      'SUCCESS',
      'REVOKED',
      undefined,
    ]);
  });

  test.each(['onAsked', 'onWritten'] as const)(
    'a workflow is deleted whose process prints: its lines go with it (%s)',
    async (moment) => {
      const { other, records, proxy, workflow, count } = await recorded();
      const process = await registered(other, workflow.id);
      // The first write is of the number that the lines get.
      when(proxy, moment, 2, () => other.deleteWorkflow(workflow.id));
      await expect(records.appendLogs(process, [LINE])).rejects.toMatchObject({
        code: 'E_WORKFLOW_NOT_FOUND',
      });
      expect(await count('longshore_processes', 'longshore_logs')).toEqual([0, 0]);
    },
  );

  test('a process prints while its workflow is deleted: its lines go with it', async () => {
    const { other, records, proxy, workflow, count } = await recorded();
    const process = await registered(other, workflow.id);
    // The mark, and the lines that there were.
    when(proxy, 'onWritten', 2, () => other.appendLogs(process, [LINE]));
    expect(await records.deleteWorkflow(workflow.id)).toBe(1);
    expect(await count('longshore_processes', 'longshore_logs')).toEqual([0, 0]);
  });
});

const registered = (
  records: Awaited<ReturnType<typeof openStore>>['records'],
  workflow_id: string,
): Promise<number> =>
  records.registerProcess({
    workflow_id,
    step: 'first',
    task_id: 't',
    pid: 4,
    hostname: 'node-1',
    start_time: LINE.timestamp,
    tags: { args: ['x'] },
  });

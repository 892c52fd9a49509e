import { randomBytes } from 'node:crypto';
import type { Document } from 'mongodb';
import { expect, inject, test } from 'vitest';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { makeGateway } from '../gateway/gateway.ts';
import { makeWorkflow } from '../records/fixture.ts';
import { makeFleet } from '../support/fleet.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { until } from '../support/until.ts';
import { insertReference, referenceDatabase } from './reference.ts';

const ONE = { name: 'one', task: 't' };
const SPOILT: [string, Document, string][] = [
  ['no list of steps', { steps: null }, 'steps: '],
  ['a step that is none', { steps: [ONE, null] }, 'steps.1: '],
  ['a step without a name', { steps: [{ task: 't' }] }, 'steps.0.name: '],
  ['a step without a task', { steps: [{ name: 'one', task: 7 }] }, 'steps.0.task: '],
  ['runs that are no list', { steps: [{ ...ONE, task_runs: { 0: 'x' } }] }, 'steps.0.task_runs: '],
  ['a run without an id', { steps: [{ ...ONE, task_runs: [{}] }] }, 'steps.0.task_runs.0.task_id: '],
];

const actor = 'ana';
const unreadable = { code: 'E_WORKFLOW_UNREADABLE', class: 'operator' };

async function served() {
  const place = await mongoPlace();
  const gateway = await makeGateway({ place });
  const db = referenceDatabase(place.config);
  const { app_id } = place.config;
  const insert = async (spoilt: Document, given: Document = {}): Promise<string> => {
    const common = { app_id, queue: `${app_id}.q`, ...given };
    const id = await insertReference(db, [{ name: 'one', runs: ['STARTED'] }], common);
    await db.collection<{ _id: string }>('workflow_meta').updateOne({ _id: id }, { $set: spoilt });
    return id;
  };
  return { ...gateway, db, insert };
}

describeMongodb('a document of workflow_meta that is no workflow', () => {
  test.each(SPOILT)(
    'with %s is named, with what is odd, to who asks for it, and can be deleted',
    async (_, spoilt, oddity) => {
      const { ask, insert, db, engine, store } = await served();
      const id = await insert(spoilt);
      const sound = await insert({});
      for (const answer of [
        await ask(`/workflows/${id}`),
        await ask(`/workflows/${id}/pause`, { method: 'POST' }),
        await ask(`/workflows/${id}/resume`, { json: {} }),
        await ask(`/workflows/${id}/resume?force=true`, { json: { args: [7] } }),
      ]) {
        expect(answer.status).toBe(500);
        expect(answer.body).toEqual({
          message: expect.stringContaining(`"${id}" of workflow_meta is no workflow (${oddity}`) as string,
          code: 'E_WORKFLOW_UNREADABLE',
          hint: expect.stringContaining('DELETE') as string,
        });
      }
      const gone = { status: 200, body: { deleted_count: 1 } };
      expect(await ask(`/workflows/${id}`, { method: 'DELETE' })).toMatchObject(gone);
      expect(await ask(`/workflows/${id}`, { method: 'DELETE' })).toMatchObject({
        body: { deleted_count: 0 },
      });
      expect((await ask(`/workflows/${id}`)).status).toBe(404);
      expect(await db.collection('celery_taskmeta').distinct('kwargs.workflow_id')).toEqual([sound]);
      expect((await ask(`/workflows/${sound}`)).status).toBe(200);
      expect((await store.records.auditLog({ subject: `workflow:${id}` }))[0]).toMatchObject({
        action: 'workflow.delete',
        details: { oddity: expect.stringContaining(oddity) as string },
      });
      expect((await engine.reconcile()).looked_at).toBe(1);
    },
  );

  test('stays with a deletion that spares what runs, and in the way of another of its dataset', async () => {
    const { insert, engine, store } = await served();
    const id = await insert({ steps: null, dataset_id: 7 });
    await expect(engine.delete(id, { actor, unless_running: true })).rejects.toMatchObject(unreadable);
    const another = { ...makeWorkflow(), dataset_id: 7 };
    await expect(store.records.createWorkflow(another, { alone: true })).rejects.toMatchObject({
      ...unreadable,
      fields: { workflow_id: id },
    });
    expect(await engine.delete(id, { actor })).toEqual({ deleted_count: 1 });
    expect(await store.records.createWorkflow(another, { alone: true })).toBeNull();
  });

  test('ends no page of those that are live, however many of them lie in it', async () => {
    const { insert, store } = await served();
    for (let at = 0; at < 5; at++) await insert({ steps: null }, { _id: `a${at}` });
    for (const _id of ['b', 'c', 'd']) await insert({}, { _id });
    const live = async (limit: number) =>
      (await store.records.liveWorkflows({ limit })).map(({ id }) => id).join('');
    expect([await live(1), await live(2), await live(9)]).toEqual(['b', 'bc', 'bcd']);
  });

  test('or is one, and whose deletion was cut off, is removed when workers look for what is missing in the queue', async () => {
    const { insert, db, engine } = await served();
    for (const more of [{}, { steps: null }]) await insert({ ...more, deleting: true });
    expect(await engine.reconcile()).toEqual({ looked_at: 0, repaired: [] });
    for (const collection of ['workflow_meta', 'celery_taskmeta'])
      expect(await db.collection(collection).countDocuments()).toBe(0);
  });

  test('and whose step runs: a deletion stops its process, and no worker begins the rest of it', async () => {
    const database = `longshore_test_${randomBytes(6).toString('hex')}`;
    const in_mongodb = { catalog: { backend: 'mongodb' }, records: { backend: 'mongodb' } };
    const fleet = await makeFleet({ ...in_mongodb, mongodb: { url: inject('mongodb'), database } });
    const db = referenceDatabase(fleet.place.config);
    const worker = await fleet.worker();
    const id = await fleet.start({ one: { until_file: fleet.place.path('never') }, two: {} });
    const { pid } = await until(() => fleet.events('start')[0]);
    await db
      .collection<{ _id: string }>('workflow_meta')
      .updateOne({ _id: id }, { $set: { 'steps.1': null } });
    expect(await fleet.engine.delete(id, { actor })).toEqual({ deleted_count: 1 });
    expect(membersOf(pid)).toEqual([]);
    // Another one comes to its end in the same queue, and what was left of the first is out of it.
    await fleet.reaches(await fleet.start({ three: {} }), 'SUCCESS');
    await until(async () => (await fleet.engine.fleet()).queues.every(({ jobs }) => jobs.waiting === 0), {
      what: 'an empty queue',
    });
    expect(fleet.events('start', 'two')).toEqual([]);
    expect(worker.log()).not.toContain('E_TASK_CRASHED');
    await db.dropDatabase();
  });
});

describeMongodb('a run with a status that the reference does not know', () => {
  test.each(['IGNORED', 'REJECTED', 'MINE'])(
    'is begun and not ended: one that is %s can be paused',
    async (status) => {
      const { ask, insert, db } = await served();
      const id = await insert({});
      await db.collection('celery_taskmeta').updateOne({}, { $set: { status } });
      expect((await ask(`/workflows/${id}`)).body).toMatchObject({ status: 'STARTED' });
      const { body } = await ask(`/workflows/${id}/pause`, { method: 'POST' });
      expect(body).toMatchObject({ paused: true, revoked_step: { name: 'one' } });
      expect((await ask(`/workflows/${id}`)).body).toMatchObject({ status: 'REVOKED' });
    },
  );
});

import { randomBytes } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { expect, inject, onTestFinished, test } from 'vitest';
import { makeGateway } from '../gateway/gateway.ts';
import { openStore } from '../../workers/store.ts';
import { begin, claimOf, look, openBench, type OpenStore, policy } from '../records/fixture.ts';
import { makeFleet } from '../support/fleet.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { insertReference, type ReferenceStep, referenceDatabase, STARTED_AT } from './reference.ts';

const open: OpenStore = (config) => openStore(config);
open.place = mongoPlace;

const pause = { actor: 'ana', take_out: false };
const resume = { actor: 'ana', force: false, lock_seconds: 60 };

const between: ReferenceStep[] = [{ name: 'one', runs: ['SUCCESS'] }, { name: 'two' }, { name: 'three' }];
const running: ReferenceStep[] = [
  { name: 'one', runs: ['SUCCESS'] },
  { name: 'two', runs: ['FAILURE', 'STARTED'] },
  { name: 'three' },
];
const failed: ReferenceStep[] = [
  { name: 'one', runs: ['SUCCESS'] },
  { name: 'two', runs: ['FAILURE'] },
  { name: 'three' },
];
const fresh: ReferenceStep[] = [{ name: 'one' }, { name: 'two' }, { name: 'three' }];

async function opened() {
  const bench = await openBench(open);
  return { ...bench, db: referenceDatabase(bench.place.config) };
}

async function fleetInMongodb(overrides: Record<string, unknown> = {}) {
  const database = `longshore_test_${randomBytes(6).toString('hex')}`;
  const url = inject('mongodb');
  onTestFinished(async () => {
    const client = new MongoClient(url);
    await client.db(database).dropDatabase();
    await client.close();
  });
  const backends = { catalog: { backend: 'mongodb' }, records: { backend: 'mongodb' } };
  const fleet = await makeFleet({ ...backends, ...overrides, mongodb: { url, database } });
  return { ...fleet, db: referenceDatabase(fleet.place.config) };
}

describeMongodb('workflows that the reference wrote', () => {
  test('a worker takes them over where they stand, and runs each to its end', async () => {
    const fleet = await fleetInMongodb();
    const { db, engine, store, journal } = fleet;
    const { app_id } = fleet.place.config;
    const given = { app_id, queue: `${app_id}.q` };
    const drills = (steps: ReferenceStep[]) => steps.map((step) => ({ ...step, kwargs: { journal } }));
    const resumed = await insertReference(db, drills(failed), { ...given, _status: 'FAILURE' });
    const stuck = await insertReference(db, drills(between), given);
    const started = await insertReference(db, drills(running), given);
    const unknown = await insertReference(db, drills(fresh), { ...given, _status: 'PENDING' });
    expect(await engine.resume(resumed, { actor: 'ana' })).toMatchObject({
      resumed: true,
      restarted_step: { name: 'two' },
    });
    expect((await engine.reconcile()).repaired.toSorted()).toEqual([started, stuck].toSorted());
    await fleet.worker();
    for (const workflow of [resumed, stuck, started]) {
      const { steps } = await fleet.reaches(workflow, 'SUCCESS');
      expect(steps.map(({ last_task_run }) => last_task_run?.args)).toEqual([[7], [7], [7]]);
    }
    // What the reference had begun goes on under its own id, with its own date.
    const found = await store.records.workflowWithRuns(started, { prev_runs: true });
    expect(found?.prev_runs?.map((runs) => runs.map(({ status }) => status))).toEqual([[], ['FAILURE'], []]);
    expect(found?.last_runs[1]).toMatchObject({ date_start: STARTED_AT.toISOString(), losses: 0 });
    expect(await store.records.attempts(found?.last_runs[1]?._id ?? '')).toMatchObject([
      { number: 1, outcome: 'success' },
    ]);
    expect(fleet.events('start')).toHaveLength(6);
    expect((await engine.reconcile()).repaired).toEqual([]);
    expect((await engine.show(unknown)).status).toBe('PENDING');
    expect(fleet.workerLog(0)).not.toContain('E_WORKFLOW_NOT_FOUND');
  });

  test('whoever looks at a step that has not begun sees the same task id, and claims it under that', async () => {
    const bench = await opened();
    const { records } = bench;
    const id = await insertReference(bench.db, between);
    const other = await bench.again();
    const [mine, theirs] = [await look(records, id), await look(other.records, id)];
    const ids = mine.workflow.steps.map(({ next_task_id }) => next_task_id);
    expect(theirs.workflow.steps.map(({ next_task_id }) => next_task_id)).toEqual(ids);
    expect(new Set(ids).size).toBe(3);
    const first = await begin(records, { id }, 1, 'w1');
    expect(first.key).toEqual({ task_id: ids[1], number: 1 });
    // Its worker was lost: the same run goes on.
    expect((await begin(other.records, { id }, 1, 'w2')).key).toEqual({ task_id: ids[1], number: 2 });
    expect((await look(records, id)).workflow.steps.map(({ next_task_id }) => next_task_id)).toEqual(ids);
  });

  test.each([
    ['stuck between two steps', between, 1],
    ['begun', running, 1],
    ['waiting for its retry', [{ name: 'one', runs: ['RETRY'] }, { name: 'two' }] as ReferenceStep[], 0],
  ])('one that is %s is paused, stays so, and is resumed with what it was given', async (_, steps, index) => {
    const { records, db } = await opened();
    const id = await insertReference(db, steps);
    const answer = await records.pause(id, pause);
    expect(answer).toMatchObject({ paused: true, index });
    const { status, runs } = await look(records, id);
    expect(status).toBe('REVOKED');
    expect(runs[index]).toMatchObject({ _id: answer.revoked_step?.task_id, status: 'REVOKED' });
    expect(await records.liveWorkflows({})).toEqual([]);
    expect(await records.claim(claimOf({ id }, index), policy)).toMatchObject({ verdict: 'stopped' });
    expect(await records.resume(id, resume)).toMatchObject({ resumed: true, index });
    const { run, key } = await begin(records, { id }, index);
    expect(run.args).toEqual([7]);
    expect(await records.finish(key, { outcome: 'success', result: [8] })).toMatchObject({
      next: { index: index + 1 },
    });
  });

  test('a revoke of a run that the reference began takes the workflow out', async () => {
    const { records, db } = await opened();
    const id = await insertReference(db, running);
    expect(await records.pause(id, { ...pause, take_out: true })).toMatchObject({ paused: true });
    expect((await look(records, id)).workflow.revoked_at).not.toBeNull();
  });

  test('a task whose document the reference never wrote is run with what the one before was given', async () => {
    const { records, db } = await opened();
    const id = await insertReference(db, [{ name: 'one', runs: ['FAILURE', 'gone'] }, { name: 'two' }]);
    const { workflow } = await look(records, id);
    const { key, run } = await begin(records, { id });
    expect(key.task_id).toBe(workflow.steps[0]?.task_runs[1]?.task_id);
    expect(run.args).toEqual([7]);
  });

  test('one that never began runs only by force and with arguments: nobody knows what it was to be given', async () => {
    const { records, db } = await opened();
    const id = await insertReference(db, fresh, { _status: 'PENDING' });
    expect(await records.claim(claimOf({ id }), policy)).toEqual({ verdict: 'stopped', status: 'PENDING' });
    expect(await records.resume(id, resume)).toMatchObject({ resumed: false });
    const forced = { ...resume, force: true };
    await expect(records.resume(id, forced)).rejects.toMatchObject({ code: 'E_WORKFLOW_INVALID' });
    expect(await records.pause(id, pause)).toMatchObject({ paused: true });
    expect(await look(records, id)).toMatchObject({
      status: 'REVOKED',
      runs: [{ status: 'REVOKED' }, null, null],
    });
    await expect(records.resume(id, resume)).rejects.toMatchObject({ code: 'E_WORKFLOW_INVALID' });
    expect((await look(records, id)).workflow.resume_lock).toBeNull();
    expect(await records.resume(id, { ...resume, args: [9] })).toMatchObject({ resumed: true });
    expect((await begin(records, { id })).run.args).toEqual([9]);
  });

  test('over HTTP a resume of one that never began is answered as by the reference: false, and 400 by force', async () => {
    const place = await mongoPlace();
    const { ask, engine } = await makeGateway({ place });
    const { app_id } = place.config;
    const given = { app_id, queue: `${app_id}.q`, _status: 'PENDING' };
    const id = await insertReference(referenceDatabase(place.config), fresh, given);
    const url = `/workflows/${id}/resume`;
    expect(await ask(url, { json: {} })).toMatchObject({ status: 200, body: { resumed: false } });
    expect(await ask(`${url}?force=true`, { json: {} })).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('no args are provided') as string },
    });
    expect(await engine.enqueue(id)).toBe('not runnable');
    const { body } = await ask(`${url}?force=true`, { json: { args: [7] } });
    expect(body).toEqual({ resumed: true, restarted_step: { name: 'one', task: 'drill' } });
    expect(await engine.enqueue(id)).toBe('present');
  });

  test('a step that names no queue runs in the default one of its application, or of who resumes it', async () => {
    const fleet = await fleetInMongodb();
    const { db, engine, store, journal } = fleet;
    const { app_id } = fleet.place.config;
    const drills = failed.map((step) => ({ ...step, kwargs: { journal } }));
    const known = await insertReference(db, drills, { app_id, queue: undefined, _status: 'FAILURE' });
    const oldest = { app_id: undefined, name: undefined, queue: undefined, _status: undefined };
    const old = await insertReference(db, drills, oldest);
    const stuck = await insertReference(db, between, oldest);
    expect((await look(store.records, known)).workflow.steps[2]?.queue).toBe(`${app_id}.q`);
    for (const id of [known, old])
      expect(await engine.resume(id, { actor: 'ana' })).toMatchObject({ resumed: true });
    expect(await engine.enqueue(stuck)).toBe('not runnable');
    expect(await engine.revoke(stuck, { actor: 'ana' })).toMatchObject({ paused: true });
    expect(await engine.delete(stuck, { actor: 'ana' })).toEqual({ deleted_count: 1 });
    await fleet.worker();
    for (const id of [known, old]) {
      await fleet.reaches(id, 'SUCCESS');
      expect((await look(store.records, id)).runs[2]).toMatchObject({
        queue: `${app_id}.q`,
        kwargs: { app_id },
      });
    }
  });

  test('a resume that the reference had recorded and nobody took up keeps its lock, and can be asked for again', async () => {
    const { records, db } = await opened();
    const id = await insertReference(db, failed, { _status: 'FAILURE', resume_lock: new Date() });
    await records.liveWorkflows({});
    expect(await records.resume(id, resume)).toMatchObject({ resumed: false });
    expect(await records.resume(id, { ...resume, lock_seconds: 0 })).toMatchObject({ resumed: true });
    await begin(records, { id }, 1);
    expect((await look(records, id)).workflow.resume_lock).toBeNull();
  });
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { BSON, type Document } from 'mongodb';
import { expect, test } from 'vitest';
import { showSteps } from '../../scripts/cli/dataset-view.ts';
import { page } from '../../workers/gateway/shapes.ts';
import { toServed } from '../../workers/workflows/status.ts';
import { makeGateway } from '../gateway/gateway.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { insertReference, referenceDatabase } from './reference.ts';

async function served() {
  const place = await mongoPlace();
  const gateway = await makeGateway({ place });
  return { ...gateway, db: referenceDatabase(place.config) };
}

/** Shaped as the oldest documents of the reference are, in the extended JSON of mongoexport. */
const exported = (collection: string): Document[] =>
  BSON.EJSON.parse(
    readFileSync(join(import.meta.dirname, `../fixtures/reference/${collection}.json`), 'utf8'),
  ) as Document[];

const task = (_id: string, step: string, workflow_id: string, more: object) => ({
  _id,
  status: 'SUCCESS',
  traceback: null,
  children: [],
  kwargs: { workflow_id, step },
  worker: 'celery@localhost',
  retries: 0,
  queue: 'celery',
  ...more,
});

const MEASURE = 'oldworkers.measure.measure_dataset';
const whole = '5a2f1c88-0d3e-4b6a-9c1f-7e4d2b90a611';
const broken = 'c96d4e37-85b1-4f20-a7d3-18f06b5ce722';

/** Written by hand from what the reference's server does with these documents. */
const WHOLE = {
  id: whole,
  name: null,
  app_id: null,
  description: null,
  created_at: '2022-11-14T08:10:20.301000Z',
  updated_at: '2022-11-14T08:12:01.420000Z',
  status: 'SUCCESS',
  steps_done: 2,
  total_steps: 2,
  steps: [
    {
      name: 'measure',
      task: MEASURE,
      status: 'SUCCESS',
      last_task_run: task('b1c7de02-6f54-4a39-8e0d-31c2a7f4d501', 'measure', whole, {
        name: MEASURE,
        args: [21],
        result: [21],
        date_start: '2022-11-14T08:10:20.955000Z',
        date_done: '2022-11-14T08:12:01.402099Z',
      }),
    },
    {
      name: 'store',
      task: 'oldworkers.store.store_dataset',
      status: 'SUCCESS',
      last_task_run: task('b1c7de02-6f54-4a39-8e0d-31c2a7f4d502', 'store', whole, {
        name: 'oldworkers.store.store_dataset',
        args: [21],
        result: [21, []],
        parent_id: 'b1c7de02-6f54-4a39-8e0d-31c2a7f4d501',
        date_start: '2022-11-14T08:12:01.420000Z',
        date_done: '2022-11-14T09:00:00.000000Z',
      }),
    },
  ],
  resume_lock: null,
};

const BROKEN = {
  id: broken,
  name: null,
  app_id: null,
  description: null,
  created_at: '2022-12-01T17:00:00.042000Z',
  updated_at: '2022-12-01T17:45:00.300000Z',
  status: 'FAILURE',
  steps_done: 1,
  total_steps: 3,
  steps: [
    {
      name: 'measure',
      task: MEASURE,
      status: 'SUCCESS',
      last_task_run: task('d8e0a4f1-9b72-4c65-b3aa-20f7c1d6e802', 'measure', broken, {
        name: MEASURE,
        args: [22],
        result: [22],
        date_start: '2022-12-01T17:30:00.200000Z',
        date_done: '2022-12-01T17:44:59.999999Z',
      }),
      prev_task_runs: [
        task('d8e0a4f1-9b72-4c65-b3aa-20f7c1d6e801', 'measure', broken, {
          name: MEASURE,
          status: 'REVOKED',
          args: [22],
          result: {
            exc_type: 'TaskRevokedError',
            exc_message: ['terminated'],
            exc_module: 'celery.exceptions',
          },
          date_start: '2022-12-01T17:00:00.100000Z',
          date_done: '2022-12-01T17:10:00.500000Z',
        }),
      ],
    },
    {
      name: 'report',
      task: 'oldworkers.report.generate',
      status: 'FAILURE',
      last_task_run: task('d8e0a4f1-9b72-4c65-b3aa-20f7c1d6e803', 'report', broken, {
        name: 'oldworkers.report.generate',
        status: 'FAILURE',
        args: [22],
        result: {
          exc_type: 'CalledProcessError',
          exc_message: [1, ['report', '--out', '']],
          exc_module: 'subprocess',
        },
        traceback: 'Traceback (most recent call last):\n  File "report.py", line 9, in generate\n',
        parent_id: 'd8e0a4f1-9b72-4c65-b3aa-20f7c1d6e802',
        date_start: '2022-12-01T17:45:00.300000Z',
        date_done: '2022-12-01T17:50:00.123456Z',
      }),
      prev_task_runs: [],
    },
    {
      name: 'publish',
      task: 'oldworkers.publish.publish_dataset',
      status: 'PENDING',
      last_task_run: null,
      prev_task_runs: [],
    },
  ],
  resume_lock: null,
};

describeMongodb('what is answered of documents that the reference wrote', () => {
  test('the oldest ones are answered as by the reference: null for what they lack, dates to the microsecond', async () => {
    const { ask, db, engine } = await served();
    for (const collection of ['workflow_meta', 'celery_taskmeta'])
      await db.collection(collection).insertMany(exported(collection));
    expect((await ask(`/workflows/${broken}?prev_task_runs=true`)).body).toEqual(BROKEN);
    expect((await ask(`/workflows/${whole}`)).body).toEqual(WHOLE);
    const { body } = await ask<{ results: unknown[] }>('/workflows');
    const steps = BROKEN.steps.map(({ prev_task_runs: _left_out, ...step }) => step);
    expect(body).toEqual({
      metadata: { total: 2, limit: 10, skip: 0 },
      results: [{ ...BROKEN, steps }, WHOLE],
    });
    expect(page.parse(body)).toEqual(body);
    expect(await engine.reconcile()).toEqual({ looked_at: 0, repaired: [] });
    expect(await db.collection('workflow_meta').find().sort({ created_at: 1 }).toArray()).toEqual(
      exported('workflow_meta'),
    );
  });

  test('show tells what it knows of them', async () => {
    const { db, store } = await served();
    for (const collection of ['workflow_meta', 'celery_taskmeta'])
      await db.collection(collection).insertMany(exported(collection));
    const found = await store.records.workflowWithRuns(broken);
    if (found === null) throw new Error('it is not served');
    const out = new PassThrough();
    showSteps(out, toServed(found), new Map());
    out.end();
    const shown = await text(out);
    expect(shown).toContain('CalledProcessError: 1 ["report","--out",""]');
    expect(shown).not.toMatch(/undefined|null|NaN/);
  });

  test('a date that is missing or none is answered as null, and hides nothing', async () => {
    const { ask, db, engine, place } = await served();
    const given = { app_id: place.config.app_id };
    const id = await insertReference(
      db,
      [
        { name: 'one', runs: ['SUCCESS'] },
        { name: 'two', runs: ['STARTED'] },
      ],
      given,
    );
    const workflows = db.collection<{ _id: string }>('workflow_meta');
    await workflows.updateOne(
      { _id: id },
      {
        $unset: { 'steps.0.task_runs.0.date_start': '', created_at: '' },
        $set: { 'steps.1.task_runs.0.date_start': 'x' },
      },
    );
    const { status, body } = await ask<{ results: unknown[] }>('/workflows');
    expect(status).toBe(200);
    expect(body.results).toMatchObject([
      {
        id,
        created_at: null,
        status: 'STARTED',
        steps: [{ last_task_run: { date_start: null } }, { last_task_run: { date_start: null } }],
      },
    ]);
    expect((await ask(`/workflows/${id}`)).body).toEqual(body.results[0]);
    expect(page.parse(body)).toEqual(body);
    expect(await engine.reconcile()).toMatchObject({ looked_at: 1 });
  });

  test.each([
    ['no list of steps', { steps: null }],
    ['a step that is none', { steps: [null] }],
    ['a step without a name', { steps: [{ task: 't' }] }],
    ['runs that are no list', { steps: [{ name: 'one', task: 't', task_runs: { 0: 'x' } }] }],
    ['a run without an id', { steps: [{ name: 'one', task: 't', task_runs: [{ date_start: new Date() }] }] }],
  ])(
    'a document with %s is left out of lists, and what is missing in the queue is still found',
    async (_, spoilt) => {
      const { ask, db, engine, place } = await served();
      const { app_id } = place.config;
      const given = { app_id, queue: `${app_id}.q` };
      const id = await insertReference(db, [{ name: 'one', runs: ['SUCCESS'] }, { name: 'two' }], given);
      const odd = { ...given, _id: '00-before-all-others' };
      await insertReference(db, [{ name: 'one' }], odd);
      await db.collection<{ _id: string }>('workflow_meta').updateOne({ _id: odd._id }, { $set: spoilt });
      const { status, body } = await ask<{ metadata: object; results: { id: string }[] }>('/workflows');
      expect(status).toBe(200);
      expect([body.metadata, body.results.map((one) => one.id)]).toMatchObject([{ total: 2 }, [id]]);
      expect(await engine.reconcile()).toEqual({ looked_at: 1, repaired: [id] });
    },
  );
});

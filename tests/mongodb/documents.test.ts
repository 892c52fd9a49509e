import { type Document, MongoClient } from 'mongodb';
import { expect, inject, onTestFinished, test } from 'vitest';
import { INDEXES } from '../../workers/mongodb/indexes.ts';
import { openStore } from '../../workers/store.ts';
import { makeRegistration } from '../catalog/registration.ts';
import { begin, failure, makeWorkflow } from '../records/fixture.ts';
import { describeMongodb, isFerretdb, mongoPlace } from '../support/mongodb.ts';
import { insertReference, referenceDatabase } from './reference.ts';

/** A store, and the same database as another reader sees it. */
async function opened() {
  const place = await mongoPlace();
  const store = await openStore(place.config);
  const client = new MongoClient(inject('mongodb'), { promoteLongs: false });
  onTestFinished(async () => {
    await store.close();
    await client.close();
  });
  const db = client.db(place.config.mongodb.database ?? '');
  const only = async (collection: string): Promise<Document> =>
    (await db.collection(collection).find({}).toArray())[0] ?? {};
  return { ...store, place, db, only };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describeMongodb('documents in MongoDB', () => {
  test('a workflow has the reference’s fields in its types, with dates as dates and absent where it has none', async () => {
    const { records, only } = await opened();
    const workflow = makeWorkflow({ steps: [{ name: 'first', kwargs: { a: 1 } }, { name: 'second' }] });
    await records.createWorkflow(workflow);
    const fresh = await only('workflow_meta');
    expect(fresh).toMatchObject({
      _id: workflow.id,
      name: workflow.name,
      app_id: workflow.app_id,
      description: workflow.description,
      _status: 'PENDING',
      created_at: new Date(workflow.created_at ?? ''),
    });
    expect(fresh._id).toMatch(UUID);
    expect(Object.keys(fresh)).not.toEqual(expect.arrayContaining(['updated_at']));
    expect(fresh).not.toHaveProperty('resume_lock');
    expect(fresh.steps[0]).toMatchObject({ name: 'first', task: 'task_of_first', kwargs: { a: 1 } });
    expect(fresh.steps[0]).not.toHaveProperty('task_runs');
    const { key } = await begin(records, workflow);
    const begun = await only('workflow_meta');
    expect(begun.steps[0].task_runs).toEqual([{ task_id: key.task_id, date_start: expect.any(Date) }]);
    expect(begun._status).toBe('STARTED');
    expect(begun.updated_at).toBeInstanceOf(Date);
    await records.finish(key, { outcome: 'failure', error: failure });
    await records.resume(workflow.id, { actor: 'a', force: false, lock_seconds: 60 });
    expect((await only('workflow_meta')).resume_lock).toBeInstanceOf(Date);
  });

  test('a task has the reference’s fields: result as JSON text, date_done as text without a zone', async () => {
    const { records, only } = await opened();
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    await records.running(key, { pid: 7, pgid: 7, hostname: 'h' });
    const started = await only('celery_taskmeta');
    expect(started).toMatchObject({
      _id: key.task_id,
      status: 'STARTED',
      result: '{"pid":7,"hostname":"h"}',
      traceback: null,
      children: [],
      date_done: null,
      name: 'task_of_first',
      args: [7],
      worker: 'w1',
      retries: 0,
    });
    expect(started.kwargs).toMatchObject({
      workflow_id: workflow.id,
      step: 'first',
      app_id: workflow.app_id,
    });
    await records.finish(key, { outcome: 'success', result: [7, []] });
    const done = await only('celery_taskmeta');
    expect(done.result).toBe('[7,[]]');
    expect(done.date_done).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
    expect(Date.now() - Date.parse(`${String(done.date_done)}Z`)).toBeLessThan(60_000);
  });

  test('documents that the reference wrote are served, very old ones without name, app_id and status, too', async () => {
    const { records, db } = await opened();
    const started = new Date('2024-01-02T03:04:05.678Z');
    await db.collection<{ _id: string }>('workflow_meta').insertMany([
      { _id: 'old', created_at: started, steps: [{ name: 'one', task: 't', queue: 'q', kwargs: null }] },
      {
        _id: 'newer',
        created_at: new Date(started.getTime() + 1),
        name: 'n',
        app_id: 'a',
        _status: 'STARTED',
        steps: [
          { name: 'one', task: 't', queue: 'q', task_runs: [{ task_id: 't1', date_start: started }] },
          { name: 'two', task: 't', queue: 'q', task_runs: [{ task_id: 't2', date_start: started }] },
        ],
      },
    ] as never[]);
    const common = {
      children: [],
      name: 't',
      args: [7],
      worker: 'w',
      retries: 0,
      queue: 'q',
      traceback: null,
    };
    const kwargs = { workflow_id: 'newer', step: 'one', app_id: 'a' };
    await db.collection<{ _id: string }>('celery_taskmeta').insertMany([
      {
        _id: 't1',
        status: 'SUCCESS',
        result: '[7]',
        date_done: '2024-01-02T03:05:06.789012',
        kwargs,
        ...common,
      },
      { _id: 't2', status: 'FAILURE', result: '{"exc_type":"X"}', date_done: null, kwargs, ...common },
    ] as never[]);
    const { total, results } = await records.listWorkflows({});
    expect([total, results.map(({ workflow }) => workflow.id)]).toEqual([2, ['newer', 'old']]);
    expect(results[1]).toMatchObject({
      workflow: {
        name: null,
        app_id: null,
        args: null,
        _status: 'PENDING',
        steps: [{ kwargs: {}, task_runs: [] }],
      },
      last_runs: [null],
    });
    expect(results[0]?.last_runs).toMatchObject([
      {
        workflow_id: 'newer',
        step: 'one',
        date_start: started.toISOString(),
        date_done: '2024-01-02T03:05:06.789012Z',
      },
      { status: 'FAILURE', result: { exc_type: 'X' } },
    ]);
    const resumed = await records.resume('newer', { actor: 'a', force: false, lock_seconds: 60 });
    expect(resumed).toMatchObject({ resumed: true, index: 1, restarted_step: { name: 'two' } });
    expect((await begin(records, { id: 'newer' }, 1)).run.args).toEqual([7]);
  });

  test('sizes are kept as 64-bit integers, exact up to the largest that a number can hold', async () => {
    const { catalog, only } = await opened();
    await catalog.register([makeRegistration()], 'x');
    await catalog.patch(1, { size: Number.MAX_SAFE_INTEGER, du_size: 5 });
    const stored = await only('longshore_datasets');
    expect(String(stored.size)).toBe('9007199254740991');
    expect([stored.size._bsontype, stored.du_size._bsontype]).toEqual(['Long', 'Long']);
    expect((await catalog.get(1)).size).toBe(Number.MAX_SAFE_INTEGER);
  });

  test('a database that a newer Longshore writes is refused and left as it is', async () => {
    const { place, db } = await opened();
    const versions = db.collection<{ _id: string; version: number }>('longshore_version');
    expect(await versions.find().toArray()).toMatchObject([{ _id: 'documents', version: 1 }]);
    await versions.updateOne({ _id: 'documents' }, { $set: { version: 99 } });
    await db.collection('longshore_proofs').dropIndexes();
    await expect(openStore(place.config)).rejects.toMatchObject({
      code: 'E_OUTDATED',
      class: 'operator',
      message: expect.stringContaining('version 99'),
    });
    expect(await db.collection('longshore_proofs').listIndexes().toArray()).toHaveLength(1);
    expect(await versions.find().toArray()).toMatchObject([{ version: 99 }]);
  });

  test('indexes are made at the start, each for a query that is named, and the next start leaves them', async () => {
    const { place, db } = await opened();
    await (await openStore(place.config)).close();
    for (const collection of new Set(INDEXES.map((index) => index.collection))) {
      const there = await db.collection(collection).listIndexes().toArray();
      const wanted = INDEXES.filter((index) => index.collection === collection);
      const facts = ({ key, unique = false }: { key?: object; unique?: boolean }) =>
        JSON.stringify([Object.entries(key ?? {}).map(([field, way]) => [field, Number(way)]), unique]);
      expect(there.map(facts).toSorted()).toEqual([{ key: { _id: 1 } }, ...wanted].map(facts).toSorted());
    }
    expect(INDEXES.filter(({ serves }) => !/\w \w/.test(serves))).toEqual([]);
  });

  test('an index that the reference has made already is used, not made again', async () => {
    const place = await mongoPlace();
    const db = referenceDatabase(place.config);
    for (const field of ['status', 'kwargs.app_id', 'kwargs.step'])
      await db.collection('celery_taskmeta').createIndex({ [field]: 1 });
    for (const field of ['_status', 'app_id'])
      await db.collection('workflow_meta').createIndex({ [field]: 1 });
    const store = await openStore(place.config);
    onTestFinished(() => store.close());
    const { records } = store;
    const names = (await db.collection('celery_taskmeta').listIndexes().toArray())
      .filter(({ key }) => 'kwargs.step' in key)
      .map(({ name }) => String(name));
    expect(names).toEqual(['kwargs.step_1']);
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    await begin(records, workflow);
    await insertReference(db, [{ name: 'theirs', runs: ['SUCCESS'] }]);
    expect(await records.stepNames()).toEqual(['first', 'theirs']);
  });

  test('the server goes by an index where one is made for the query', async ({ skip }) => {
    if (isFerretdb()) skip('FerretDB does not tell how it finds what it is asked for');
    const { db } = await opened();
    const planOf = async (query: Document): Promise<string> =>
      JSON.stringify(await db.command({ explain: query, verbosity: 'queryPlanner' }));
    expect(await planOf({ distinct: 'celery_taskmeta', key: 'kwargs.step' })).toContain('kwargs_step');
    for (const { collection, key } of INDEXES) {
      const filter = Object.fromEntries(Object.keys(key).map((field) => [field, 1]));
      const plan = await planOf({ find: collection, filter });
      expect(plan, `${collection} by ${Object.keys(key).join()}`).not.toContain('COLLSCAN');
    }
  });
});

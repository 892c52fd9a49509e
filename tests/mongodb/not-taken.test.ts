import { randomBytes } from 'node:crypto';
import { expect, inject, onTestFinished, test } from 'vitest';
import { change, insertOnce, type Versioned } from '../../workers/mongodb/change.ts';
import { connectMongo } from '../../workers/mongodb/connection.ts';
import { bodyOf, makeGateway } from '../gateway/gateway.ts';
import { makeFleet } from '../support/fleet.ts';
import { describeMongodb, isFerretdb, mongoPlace } from '../support/mongodb.ts';
import { referenceDatabase } from './reference.ts';

const NONE = 'lists within lists are what FerretDB alone does not take';

describeMongodb('what the server does not take', () => {
  test('is refused by the gateway as the request that it is, with its words', async ({ skip }) => {
    if (!isFerretdb()) skip(NONE);
    const place = await mongoPlace();
    const { ask } = await makeGateway({ place });
    const json = bodyOf(place.config, { args: [[1]] });
    expect(await ask('/workflows', { json })).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('nested arrays') as string },
    });
    expect((await ask('/workflows')).body).toMatchObject({ metadata: { total: 0 } });
  });

  test('of an outcome fails the step and says so, and nothing is lost or run again', async ({ skip }) => {
    if (!isFerretdb()) skip(NONE);
    const drill = { task: 'drill', kwargs: { journal: '/dev/null' } };
    const database = `longshore_test_${randomBytes(6).toString('hex')}`;
    const fleet = await makeFleet({
      catalog: { backend: 'mongodb' },
      records: { backend: 'mongodb' },
      mongodb: { url: inject('mongodb'), database },
      workflow_registry: {
        first: { steps: [{ ...drill, name: 'one' }], then: ['second'] },
        second: { steps: [{ ...drill, name: 'two', kwargs: { lists: [[1]] } }] },
      },
    });
    onTestFinished(async () => void (await referenceDatabase(fleet.place.config).dropDatabase()));
    await fleet.worker();
    const { id } = await fleet.engine.start('first', {
      dataset_id: await fleet.dataset(),
      initiator: 'test',
      start_kwargs: { journal: fleet.journal },
    });
    const { steps } = await fleet.reaches(id, 'FAILURE');
    expect(steps[0]?.last_task_run).toMatchObject({
      losses: 0,
      result: { exc_type: 'E_VALUE', exc_message: [expect.stringContaining('nested arrays') as string] },
    });
    expect(fleet.events('start')).toHaveLength(1);
  });

  test('a document of more than 16 MiB is refused with its size before it is sent, written anew or changed', async () => {
    const { config } = await mongoPlace();
    const mongo = await connectMongo(config);
    onTestFinished(() => mongo.close());
    const collection = mongo.collection<Versioned & { text: string }>('large');
    const text = 'x'.repeat(17 * 1024 * 1024);
    const refused = { code: 'E_VALUE', message: expect.stringContaining('MongoDB takes 16777216') as string };
    await expect(insertOnce(mongo, collection, { _id: 'once', text })).rejects.toMatchObject(refused);
    const put = (value: string) =>
      change<Versioned & { text: string }, void>(mongo, collection, 'one', () => ({
        answer: undefined,
        set: { text: value },
      }));
    await expect(put(text)).rejects.toMatchObject(refused);
    await put('small');
    await expect(put(text)).rejects.toMatchObject(refused);
    expect(await collection.findOne({ _id: 'one' })).toMatchObject({ text: 'small', rev: 1 });
    expect(await collection.countDocuments()).toBe(1);
  });
});

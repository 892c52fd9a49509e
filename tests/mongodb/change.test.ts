/** One document that decides, and what is written along with it. */
import type { Document } from 'mongodb';
import { expect, inject, onTestFinished, test } from 'vitest';
import { change, insertOwn, read, type Versioned } from '../../workers/mongodb/change.ts';
import { connectMongo, type Mongo } from '../../workers/mongodb/connection.ts';
import { addTo, deliver, type Outbox } from '../../workers/mongodb/outbox.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { startWireProxy } from './wire-proxy.ts';

interface Tally extends Versioned {
  _id: string;
  count: number;
  outbox?: Outbox;
}

const talliesOf = (mongo: Mongo) => mongo.collection<Tally>('tallies');
const count = (mongo: Mongo): Promise<number> =>
  change<Tally, number>(mongo, talliesOf(mongo), 'a', (tally) => {
    const next = (tally?.count ?? 0) + 1;
    return { answer: next, set: { count: next } };
  });

async function connections() {
  const proxy = await startWireProxy(inject('mongodb'));
  const place = await mongoPlace({ mongodb: { url: proxy.url } });
  const connect = async (url: string): Promise<Mongo> => {
    const mongo = await connectMongo({ ...place.config, mongodb: { ...place.config.mongodb, url } });
    onTestFinished(() => mongo.close());
    return mongo;
  };
  return { proxy, mongo: await connect(proxy.url), other: await connect(inject('mongodb')) };
}

describeMongodb('a document that decides', () => {
  test.each(['is there', 'is new'])(
    'a write whose answer was lost while others wrote on is not done again: the document %s',
    async (state) => {
      const { proxy, mongo, other } = await connections();
      const before = state === 'is there' ? await count(other) : 0;
      let others: Promise<unknown> | null = null;
      proxy.decide = () => (others === null ? 'lose the answer' : 'pass');
      proxy.onWritten = () => {
        others ??= (async () => {
          for (let turn = 0; turn < 12; turn++) await count(other);
        })();
        return others;
      };
      expect(await count(mongo)).toBe(before + 1);
      expect((await read(other, talliesOf(other), 'a'))?.count).toBe(before + 13);
    },
  );

  test('an id that somebody else has taken is answered as taken, also when the answer to that was lost', async () => {
    const { proxy, mongo, other } = await connections();
    expect(await insertOwn(other, talliesOf(other), { _id: 'a', count: 1 })).toBe(true);
    proxy.decide = (_, nth) => (nth === 1 ? 'lose the answer' : 'pass');
    expect(await insertOwn(mongo, talliesOf(mongo), { _id: 'a', count: 2 })).toBe(false);
    expect((await read(other, talliesOf(other), 'a'))?.count).toBe(1);
  });

  test('who delivers what he has read a while ago takes nothing away that came in since', async () => {
    const { mongo } = await connections();
    const tallies = talliesOf(mongo);
    const add = (_id: string): Promise<void> =>
      change<Tally, void>(mongo, tallies, 'a', (tally) => ({
        answer: undefined,
        set: { count: 0, outbox: addTo(tally?.outbox, { collection: 'followers', document: { _id } }) },
      }));
    await add('one');
    const early = await read(mongo, tallies, 'a');
    await add('two');
    if (early === null) throw new Error('nothing was written');
    await deliver(mongo, tallies, early);
    const late = await read(mongo, tallies, 'a');
    expect(late?.outbox?.items.map(({ document }) => (document as { _id: string })._id)).toEqual([
      'one',
      'two',
    ]);
    for (let turn = 0; turn < 2; turn++) await deliver(mongo, tallies, late as Tally);
    expect(await read(mongo, tallies, 'a')).not.toHaveProperty('outbox');
    expect(await mongo.collection<{ _id: string }>('followers').distinct('_id')).toEqual(['one', 'two']);
  });

  test('what is undefined is absent, not null', async () => {
    const { mongo } = await connections();
    const tallies = talliesOf(mongo);
    for (const state of ['new', 'there']) {
      await change(mongo, tallies, 'a', () => ({ answer: state, set: { count: 1, outbox: undefined } }));
      const found = await read(mongo, tallies, 'a');
      expect(Object.keys(found ?? {}).toSorted()).toEqual(['_id', 'count', 'ops', 'rev']);
    }
  });

  test('what was answered as written survives the loss of a primary: most have it, in their journal', async () => {
    const { proxy, mongo } = await connections();
    const concerns: Document[] = [];
    proxy.onAsked = (_, body) => void concerns.push(body.writeConcern as Document);
    await count(mongo);
    await count(mongo);
    await mongo.run(() => talliesOf(mongo).deleteOne({ _id: 'a' }));
    expect(concerns).toHaveLength(3);
    for (const concern of concerns) expect(concern).toEqual({ w: 'majority', j: true });
  });
});

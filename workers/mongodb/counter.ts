import type { Mongo } from './connection.ts';

interface Counter {
  _id: string;
  last: number;
}

/** The first of `count` whole numbers that nobody else has got or will get; numbers may be left out after a failure. */
export async function nextNumber(mongo: Mongo, name: string, count = 1): Promise<number> {
  const counters = mongo.collection<Counter>('counters');
  const after = await mongo.run(() =>
    counters.findOneAndUpdate(
      { _id: name },
      { $inc: { last: count } },
      { upsert: true, returnDocument: 'after' },
    ),
  );
  if (after === null) throw new Error(`the counter ${name} was not made`);
  return after.last - count + 1;
}

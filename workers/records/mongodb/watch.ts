/** What the watch and other scripts remember between runs. */
import { createHash } from 'node:crypto';
import { change, type Versioned } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { fromJson, toJson, wellFormed } from '../../sqlite/values.ts';
import type { Records, WatchMemory } from '../contract.ts';

/** Names of a source are spread over so many documents: one would outgrow 16 MiB, one for each name is slow to read. */
const BUCKETS = 256;

interface Bucket extends Versioned {
  _id: string;
  source: string;
  /** A JSON list: one value is read many times as fast as an array of hundreds. */
  names: string;
}

interface Note {
  _id: string;
  /** JSON. */
  value: string;
}

const bucketsOf = (mongo: Mongo) => mongo.collection<Bucket>('longshore_watched');
const notesOf = (mongo: Mongo) => mongo.collection<Note>('longshore_notes');

export function watchMemory(mongo: Mongo): WatchMemory {
  return {
    known: async (source) => {
      const found = await mongo.run(() => bucketsOf(mongo).find({ source }).toArray());
      return new Set(found.flatMap(({ names }) => fromJson<string[]>(names)));
    },
    apply: (source, { add = [], remove = [] }) => apply(mongo, source, add, remove),
    counter: async (source) => Number((await readNote(mongo, counterKey(source))) ?? 0),
    setCounter: (source, scans) => writeNote(mongo, counterKey(source), scans),
  };
}

export function noteRecords(mongo: Mongo): Pick<Records, 'note' | 'setNote'> {
  return {
    note: (key) => readNote(mongo, key),
    setNote: (key, value) => writeNote(mongo, key, value),
  };
}

/** Each bucket by itself: what a crash leaves out, the next scan finds out and says again. */
async function apply(
  mongo: Mongo,
  source: string,
  add: readonly string[],
  remove: readonly string[],
): Promise<void> {
  const added = byBucket(
    source,
    add.map((name) => wellFormed('folder name', name)),
  );
  const removed = byBucket(source, remove);
  for (const id of new Set([...added.keys(), ...removed.keys()])) {
    const gone = new Set(removed.get(id));
    await change<Bucket, void>(mongo, bucketsOf(mongo), id, (bucket) => {
      const before = bucket === null ? [] : fromJson<string[]>(bucket.names);
      const names = [...new Set([...before, ...(added.get(id) ?? [])])].filter((name) => !gone.has(name));
      const same = names.length === before.length && names.every((name, place) => name === before[place]);
      return { answer: undefined, ...(same ? {} : { set: { source, names: toJson(names) } }) };
    });
  }
}

const byBucket = (source: string, names: readonly string[]): Map<string, string[]> =>
  Map.groupBy(names, (name) => {
    const digest = createHash('sha256').update(name).digest();
    return `${source}#${String((digest[0] ?? 0) % BUCKETS)}`;
  });

const counterKey = (source: string): string => `watch.scans ${source}`;

async function readNote(mongo: Mongo, key: string): Promise<unknown> {
  const found = await mongo.run(() => notesOf(mongo).findOne({ _id: key }));
  return found === null ? null : fromJson<unknown>(found.value);
}

async function writeNote(mongo: Mongo, key: string, value: unknown): Promise<void> {
  if (value === null || value === undefined) await mongo.run(() => notesOf(mongo).deleteOne({ _id: key }));
  else {
    const set = { $set: { value: toJson(value) } };
    await mongo.run(() => notesOf(mongo).updateOne({ _id: key }, set, { upsert: true }));
  }
}

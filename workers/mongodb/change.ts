/**
 * How a document moves from one state to the next without transactions: read, decide, and write only where nobody has
 * written since (`rev` is still what was read); else all over again.
 *
 * Each write leaves a token in `ops`. When the connection breaks after a write was sent, nobody knows whether it was done;
 * asked for again it finds another `rev`, and the token tells whether that is its own.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { BSON, type Collection, type Document, type Filter, type UpdateFilter } from 'mongodb';
import { LongshoreError } from '../errors.ts';
import type { Mongo } from './connection.ts';
import { isDuplicateKey } from './failure.ts';

export interface Versioned {
  _id: string | number;
  /** Absent in documents that the reference wrote. */
  rev?: number;
  ops?: string[];
}

/** `set` over a document that is there; over nothing it is the new document. Absent: nothing to be written. */
export interface Decision<D, T> {
  answer: T;
  set?: Partial<Omit<D, '_id' | 'rev' | 'ops'>>;
  unset?: readonly (keyof D & string)[];
}

/** As many as others may write before the broken connection is back. */
const TOKENS = 16;

/**
 * @param decide may be called several times; what it does beside deciding must be repeatable
 * @returns its last answer, after its decision was written
 */
export async function change<D extends Versioned, T>(
  mongo: Mongo,
  collection: Collection<D>,
  id: D['_id'],
  decide: (document: D | null) => Decision<D, T> | Promise<Decision<D, T>>,
): Promise<T> {
  for (let turn = 0; ; turn++) {
    const before = await read(mongo, collection, id);
    const { answer, set, unset } = await decide(before);
    if (set === undefined && unset === undefined) return answer;
    const written =
      before === null
        ? await insertOwn(mongo, collection, { ...set, _id: id } as unknown as D)
        : await swap(mongo, collection, before, set ?? {}, unset ?? []);
    if (written) return answer;
    await sleep(Math.random() * Math.min(2 ** turn, 64));
  }
}

export const read = <D extends Document>(
  mongo: Mongo,
  collection: Collection<D>,
  id: D['_id'],
): Promise<D | null> => mongo.run(() => collection.findOne({ _id: id } as Filter<D>)) as Promise<D | null>;

/** False when the id, or another unique key, is taken by somebody else. */
export async function insertOwn<D extends Versioned>(
  mongo: Mongo,
  collection: Collection<D>,
  document: D,
): Promise<boolean> {
  const token = randomUUID();
  const fresh = { ...document, rev: 1, ops: [token] };
  assertFits(collection, fresh);
  try {
    await mongo.run(() => collection.insertOne(fresh as Parameters<typeof collection.insertOne>[0]));
    return true;
  } catch (error) {
    if (!isDuplicateKey(error)) throw error;
    return (await read(mongo, collection, document._id))?.ops?.includes(token) === true;
  }
}

/** For documents that are the same whoever writes them, named by their own id: inserted, or there already. */
export async function insertOnce<D extends Document>(
  mongo: Mongo,
  collection: Collection<D>,
  document: D,
): Promise<void> {
  assertFits(collection, document);
  try {
    await mongo.run(() => collection.insertOne(document as Parameters<typeof collection.insertOne>[0]));
  } catch (error) {
    if (!isDuplicateKey(error)) throw error;
  }
}

/** Of a server; one that is set differently says so itself. */
const LARGEST_BYTES = 16 * 1024 * 1024;

/**
 * Of what is larger than its buffer the driver says that an offset is out of range, which has no code and names nothing.
 * @throws E_VALUE
 */
function assertFits(collection: { readonly collectionName: string }, document: object): void {
  const bytes = BSON.calculateObjectSize(document);
  if (bytes <= LARGEST_BYTES) return;
  throw new LongshoreError(
    'E_VALUE',
    `a document for ${collection.collectionName} has ${bytes} bytes; MongoDB takes ${LARGEST_BYTES} at most`,
    { fields: { collection: collection.collectionName, bytes, most: LARGEST_BYTES } },
  );
}

async function swap<D extends Versioned>(
  mongo: Mongo,
  collection: Collection<D>,
  before: D,
  set: object,
  unset: readonly string[],
): Promise<boolean> {
  const token = randomUUID();
  const ops = [...(before.ops ?? []), token].slice(-TOKENS);
  const update = {
    $set: { ...set, rev: (before.rev ?? 0) + 1, ops },
    ...(unset.length === 0 ? {} : { $unset: Object.fromEntries(unset.map((name) => [name, ''])) }),
  } as unknown as UpdateFilter<D>;
  assertFits(collection, set);
  // Null finds documents without the field, too.
  const filter = { _id: before._id, rev: before.rev ?? null } as unknown as Filter<D>;
  let asked = 0;
  const matched = await mongo.run(async () => {
    asked += 1;
    return (await collection.updateOne(filter, update)).matchedCount;
  });
  if (matched === 1) return true;
  if (asked === 1) return false;
  return (await read(mongo, collection, before._id))?.ops?.includes(token) === true;
}

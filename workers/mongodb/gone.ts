/**
 * Workflows that were deleted lately. Who has read an outbox and then stands still may put a workflow into its place that
 * others had put there, and that was deleted since: without a transaction only a note tells it from one that is new.
 */
import type { Collection, Document } from 'mongodb';
import type { Mongo } from './connection.ts';

/** Nobody stands still for longer and goes on. */
const KEPT_MS = 24 * 60 * 60_000;
/** The one collection that outboxes fill and people empty. */
export const DELETABLE = 'workflow_meta';

interface Gone {
  _id: string;
  at: Date;
}

const goneOf = (mongo: Mongo) => mongo.collection<Gone>('longshore_gone');

/** To be written before the document goes. */
export const noteGone = (mongo: Mongo, _id: string): Promise<unknown> =>
  mongo.run(() => goneOf(mongo).updateOne({ _id }, { $set: { at: new Date() } }, { upsert: true }));

/** After it was put in its place: marked as deleted again, for the next look at the live ones to remove with all it has. */
export async function hideIfGone<D extends Document>(
  mongo: Mongo,
  collection: Collection<D>,
  _id: string,
): Promise<void> {
  if ((await mongo.run(() => goneOf(mongo).findOne({ _id }))) === null) return;
  const plain = collection as unknown as Collection<{ _id: string }>;
  await mongo.run(() => plain.updateOne({ _id }, { $set: { deleting: true } }));
}

export const forgetGone = (mongo: Mongo): Promise<unknown> =>
  mongo.run(() => goneOf(mongo).deleteMany({ at: { $lt: new Date(Date.now() - KEPT_MS) } }));

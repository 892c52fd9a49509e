/**
 * What follows from a decision and belongs into other collections (the entry in the audit trail, the workflow of a new
 * dataset) is part of the document that decides, until it is there. Whoever comes by a document with an outbox that is not
 * empty, the one who wrote it or, after a crash, the next one, delivers it; to deliver twice is to deliver once.
 */
import { randomUUID } from 'node:crypto';
import type { Collection, Document, Filter, UpdateFilter } from 'mongodb';
import { insertOnce } from './change.ts';
import type { Mongo } from './connection.ts';
import { DELETABLE, hideIfGone } from './gone.ts';

export interface Item {
  collection: string;
  /** With an `_id` of its own. */
  document: Document;
}

export interface Outbox {
  /** Another one with each addition. */
  id: string;
  items: Item[];
}

export const addTo = (outbox: Outbox | undefined, ...items: Item[]): Outbox => ({
  id: randomUUID(),
  items: [...(outbox?.items ?? []), ...items],
});

export async function deliver<D extends { _id: unknown; outbox?: Outbox }>(
  mongo: Mongo,
  collection: Collection<D>,
  { _id, outbox }: Pick<D, '_id' | 'outbox'>,
): Promise<void> {
  if (outbox === undefined) return;
  for (const item of outbox.items) {
    const place = mongo.collection(item.collection);
    await insertOnce(mongo, place, item.document);
    if (item.collection === DELETABLE) await hideIfGone(mongo, place, item.document._id as string);
  }
  await mongo.run(() =>
    collection.updateOne(
      { _id, 'outbox.id': outbox.id } as unknown as Filter<D>,
      { $unset: { outbox: '' } } as unknown as UpdateFilter<D>,
    ),
  );
}

import type { Collection, Document, Filter } from 'mongodb';
import type { Config } from '../../../config/index.ts';
import { datasetsOf } from '../../../workers/catalog/mongodb/documents.ts';
import { copiesOf } from '../../../workers/catalog/mongodb/ledger.ts';
import { connectMongo, type Mongo } from '../../../workers/mongodb/connection.ts';
import { newestVersion } from '../../../workers/mongodb/version.ts';
import { queueOf, type WorkflowRecord } from '../../../workers/records/mongodb/documents.ts';
import { workflowsOf } from '../../../workers/records/mongodb/settle.ts';
import type { Counted, Recorded, StagedCopy } from './contract.ts';

const PAGE = 1_000;

/**
 * Read by hand, as the SQLite file is: the store would make indexes, and bring into place what killed processes left.
 * Counted here and not by `$group`, which the servers that speak MongoDB's protocol know in different degrees.
 *
 * @returns null where the documents are of a release that is newer than this one: catalog.version says so.
 * @throws E_MONGODB_UNAVAILABLE, E_MONGODB_DENIED, which catalog.mongodb tells too
 */
export async function mongodbRecorded(config: Config): Promise<Recorded | null> {
  // Asks once: waiting for a server that is away is for workers.
  const mongo = await connectMongo({ ...config, mongodb: { ...config.mongodb, patience_seconds: 0 } });
  try {
    if ((await newestVersion(mongo)).isNewer) {
      await mongo.close();
      return null;
    }
  } catch (error) {
    await mongo.close();
    throw error;
  }
  return {
    types: () =>
      counted(pagesOf(mongo, datasetsOf(mongo), { is_deleted: false }, { type: 1 }), ({ type }) => [type]),
    archives: () => counted(aliveCopies(mongo, {}), ({ archive }) => [archive]),
    async *keys(archive) {
      for await (const { key } of aliveCopies(mongo, { archive })) yield key;
    },
    async *staged() {
      const filter = { is_deleted: false, staged_path: { $ne: null } };
      const found = pagesOf(mongo, datasetsOf(mongo), filter, { type: 1, staged_path: 1 });
      for await (const { type, staged_path } of found) yield { type, staged_path } as StagedCopy;
    },
    queues: (app_id) =>
      counted(live(mongo, app_id), (workflow) => workflow.steps.map((step) => queueOf(workflow, step))),
    tasks: (app_id) => counted(live(mongo, app_id), ({ steps }) => steps.map(({ task }) => task)),
    close: () => mongo.close(),
  };
}

const live = (mongo: Mongo, app_id: string): AsyncIterable<WorkflowRecord> =>
  pagesOf(
    mongo,
    workflowsOf(mongo),
    { app_id, _status: { $in: ['PENDING', 'STARTED'] }, deleting: { $ne: true } },
    { app_id: 1, 'steps.queue': 1, 'steps.task': 1 },
  );

/** In pages by id, each of which may be asked for again. */
async function* pagesOf<D extends Document & { _id: number | string }>(
  mongo: Mongo,
  collection: Collection<D>,
  filter: Filter<D>,
  fields: Record<string, 1>,
): AsyncGenerator<D> {
  for (let after: D['_id'] | null = null; ; ) {
    const rest = after === null ? filter : { ...filter, _id: { $gt: after } };
    const page = (await mongo.run(() =>
      collection.find(rest, { projection: fields }).sort({ _id: 1 }).limit(PAGE).toArray(),
    )) as unknown as D[];
    yield* page;
    if (page.length < PAGE) return;
    after = page.at(-1)?._id ?? null;
  }
}

async function* aliveCopies(mongo: Mongo, filter: { archive?: string }) {
  const found = pagesOf(mongo, copiesOf(mongo), filter, { dataset_id: 1, archive: 1, key: 1 });
  for await (const page of inGroups(found)) {
    const ids = [...new Set(page.map(({ dataset_id }) => dataset_id))];
    const alive = await mongo.run(() =>
      datasetsOf(mongo)
        .find({ _id: { $in: ids }, is_deleted: false }, { projection: { _id: 1 } })
        .toArray(),
    );
    const known = new Set(alive.map(({ _id }) => _id));
    yield* page.filter(({ dataset_id }) => known.has(dataset_id));
  }
}

async function* inGroups<T>(items: AsyncIterable<T>): AsyncGenerator<T[]> {
  let group: T[] = [];
  for await (const item of items) {
    group.push(item);
    if (group.length < PAGE) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

/** How many items have each name. */
async function counted<T>(items: AsyncIterable<T>, namesOf: (item: T) => string[]): Promise<Counted[]> {
  const counts = new Map<string, number>();
  for await (const item of items)
    for (const name of new Set(namesOf(item))) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => ({ name, count }));
}

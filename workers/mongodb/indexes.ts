/** The indexes, each with the query it serves; made at start where they are missing. */
import type { IndexDescriptionInfo } from 'mongodb';
import type { Mongo } from './connection.ts';
import { isMissingNamespace } from './failure.ts';

interface Index {
  readonly collection: string;
  readonly key: Readonly<Record<string, 1 | -1>>;
  readonly unique?: true;
  readonly sparse?: true;
  readonly serves: string;
}

export const INDEXES: readonly Index[] = [
  {
    collection: 'workflow_meta',
    key: { created_at: -1, order: -1 },
    serves: 'the list of workflows, newest first',
  },
  {
    collection: 'workflow_meta',
    key: { created_at: 1, _id: 1 },
    serves: 'old workflows in pages, for the purge of stale ones',
  },
  {
    collection: 'workflow_meta',
    key: { app_id: 1, _status: 1, created_at: -1 },
    serves: 'lists by status, and the counts of an app',
  },
  {
    collection: 'workflow_meta',
    key: { dataset_id: 1, name: 1 },
    serves: 'workflows of a dataset; whether one of a name is there, or any is live',
  },
  {
    collection: 'workflow_meta',
    key: { _status: 1, _id: 1 },
    serves: 'live workflows in pages, for the worker that looks for lost queue entries',
  },
  {
    collection: 'workflow_meta',
    key: { resume_lock: 1 },
    sparse: true,
    serves: 'live workflows: those that were resumed and have not begun',
  },
  {
    collection: 'workflow_meta',
    key: { deleting: 1 },
    sparse: true,
    serves: 'deletions that were cut off',
  },
  {
    collection: 'celery_taskmeta',
    key: { name: 1, order: -1 },
    serves: 'what clean runs of a task took, newest first',
  },
  {
    collection: 'celery_taskmeta',
    key: { 'kwargs.step': 1 },
    serves: 'names of all steps that have ever begun; the reference makes the same one',
  },
  {
    collection: 'celery_taskmeta',
    key: { 'attempt.worker': 1, 'attempt.date_end': 1 },
    serves: 'what else a lost worker was running',
  },
  {
    collection: 'celery_taskmeta',
    key: { 'closed.worker': 1, 'closed.given_on': 1 },
    sparse: true,
    serves: 'what of a lost worker was given on already',
  },
  {
    collection: 'celery_taskmeta',
    key: { 'attempt.outcome': 1, 'attempt.date_end': 1 },
    serves: 'which runs lost their process lately',
  },
  {
    collection: 'celery_taskmeta',
    key: { 'closed.outcome': 1, 'closed.date_end': 1 },
    sparse: true,
    serves: 'the same, of runs that were begun again',
  },
  {
    collection: 'longshore_attempts',
    key: { outcome: 1, date_end: 1 },
    serves: 'the same, of earlier attempts',
  },
  {
    collection: 'longshore_attempts',
    key: { task_id: 1, number: 1 },
    serves: 'attempts of a run, in order; their deletion',
  },
  {
    collection: 'longshore_attempts',
    key: { worker: 1, given_on: 1 },
    serves: 'what of a lost worker was given on already',
  },
  {
    collection: 'longshore_processes',
    key: { workflow_id: 1 },
    serves: 'logs of a workflow; their deletion',
  },
  { collection: 'longshore_processes', key: { task_id: 1 }, serves: 'logs of a run' },
  { collection: 'longshore_logs', key: { process_id: 1, to: 1 }, serves: 'lines of a process after a line' },
  { collection: 'longshore_logs', key: { to: 1 }, serves: 'lines of everything after a line' },
  { collection: 'longshore_audit', key: { at: -1, _id: -1 }, serves: 'the audit trail, newest first' },
  {
    collection: 'longshore_audit',
    key: { subject: 1, at: -1, _id: -1 },
    serves: 'the audit trail of a subject',
  },
  { collection: 'longshore_gone', key: { at: 1 }, serves: 'notes of deletions that nobody needs any more' },
  { collection: 'longshore_watched', key: { source: 1 }, serves: 'all known folders of a source' },
  {
    collection: 'longshore_datasets',
    key: { name_key: 1 },
    unique: true,
    serves: 'one dataset alive of each name and type; it decides between two who register one',
  },
  {
    collection: 'longshore_datasets',
    key: { is_deleted: 1, updated_at: -1, _id: -1 },
    serves: 'the list of datasets, newest update first',
  },
  { collection: 'longshore_datasets', key: { origin_path: 1 }, serves: 'the dataset of a folder' },
  {
    collection: 'longshore_datasets',
    key: { 'outbox.id': 1 },
    sparse: true,
    serves: 'registrations that were cut off',
  },
  { collection: 'longshore_copies', key: { dataset_id: 1, archive: 1 }, serves: 'copies of a dataset' },
  {
    collection: 'longshore_copies',
    key: { looked_at: 1, stored_at: 1, dataset_id: 1, archive: 1 },
    serves: 'copies that were not looked at for longest',
  },
  {
    collection: 'longshore_copies',
    key: { verified_at: 1, stored_at: 1, dataset_id: 1, archive: 1 },
    serves: 'copies in the order of their last proof',
  },
  { collection: 'longshore_copies', key: { 'finding.result': 1 }, serves: 'copies with an open finding' },
  { collection: 'longshore_proofs', key: { dataset_id: 1, _id: -1 }, serves: 'the ledger of a dataset' },
  { collection: 'longshore_proofs', key: { result: 1, _id: -1 }, serves: 'the ledger by result' },
  {
    collection: 'longshore_proofs',
    key: { pending: 1 },
    sparse: true,
    serves: 'lines whose copy does not know them',
  },
];

const nameOf = ({ key }: Index): string => `longshore_${Object.keys(key).join('_').replaceAll('.', '_')}`;

/** Those that are there already cost one question a collection. */
export async function makeIndexes(mongo: Mongo): Promise<void> {
  for (const [collection, indexes] of Map.groupBy(INDEXES, (index) => index.collection)) {
    await mongo.run(async () => {
      const missing = await missingOf(mongo, collection, indexes);
      const wanted = missing.map((index) => ({
        key: index.key,
        name: nameOf(index),
        ...(index.unique === true ? { unique: true } : {}),
        ...(index.sparse === true ? { sparse: true } : {}),
      }));
      if (wanted.length > 0) await mongo.collection(collection).createIndexes(wanted);
    });
  }
}

/** As `collection.index`. */
export async function missingIndexes(mongo: Mongo): Promise<string[]> {
  const missing: string[] = [];
  for (const [collection, indexes] of Map.groupBy(INDEXES, (index) => index.collection)) {
    const absent = await mongo.run(() => missingOf(mongo, collection, indexes));
    missing.push(...absent.map((index) => `${collection}.${nameOf(index)}`));
  }
  return missing;
}

async function missingOf(mongo: Mongo, collection: string, indexes: readonly Index[]): Promise<Index[]> {
  const there = await indexesOf(mongo, collection);
  return indexes.filter((index) => !there.some((one) => isOf(one, index)));
}

/** One that the reference or a person made under another name is as good; a server refuses to make the same twice. */
const isOf = (there: IndexDescriptionInfo, index: Index): boolean =>
  there.name === nameOf(index) ||
  (JSON.stringify(there.key) === JSON.stringify(index.key) &&
    (there.unique === true || index.unique !== true) &&
    (there.sparse !== true || index.sparse === true));

/** None of a collection that is not there yet. */
async function indexesOf(mongo: Mongo, collection: string): Promise<IndexDescriptionInfo[]> {
  try {
    return (await mongo.collection(collection).listIndexes().toArray()) as IndexDescriptionInfo[];
  } catch (error) {
    if (isMissingNamespace(error)) return [];
    throw error;
  }
}

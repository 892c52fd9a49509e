/** The companion of a REST catalog in MongoDB. */
import type { Filter } from 'mongodb';
import { change } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { addTo } from '../../mongodb/outbox.ts';
import { asJson, longOf, longOrNull } from '../../mongodb/values.ts';
import { auditItem } from '../../records/mongodb/audit.ts';
import { WORKFLOWS } from '../../records/mongodb/documents.ts';
import { newRecord } from '../../records/mongodb/new.ts';
import type { Arrival, Mirror, ToldDataset } from '../mirror.ts';
import { type DatasetRecord, datasetsOf, loadDataset, nameKey } from './documents.ts';

export function mongodbMirror(mongo: Mongo): Mirror {
  return {
    async adopt(dataset, arrival) {
      await change<DatasetRecord, void>(mongo, datasetsOf(mongo), dataset.id, async (before) => {
        await freeName(mongo, dataset);
        return { answer: undefined, set: recordOf(dataset, before, arrival) };
      });
      // Puts the workflow and the audit entry in their places.
      if (arrival !== undefined) await loadDataset(mongo, dataset.id, {});
    },
    has: async (id) => (await find(mongo, { _id: id })) !== null,
    idOf: async (name, type) =>
      (await find(mongo, { name_key: nameKey({ _id: 0, type, name, is_deleted: false }) }))?._id ?? null,
    extras: async (ids) => {
      const found = await mongo.run(() =>
        datasetsOf(mongo)
          .find({ _id: { $in: [...ids] } }, { projection: { project_id: 1, bundle: 1 } })
          .toArray(),
      );
      return new Map(found.map(({ _id, project_id, bundle }) => [_id, { project_id, bundle }]));
    },
    setFilesPartial: (id, partial) =>
      change<DatasetRecord, void>(mongo, datasetsOf(mongo), id, (before) =>
        before === null || (before.files_partial ?? false) === partial
          ? { answer: undefined }
          : { answer: undefined, set: { files_partial: partial } },
      ),
    hasPartialFiles: async (id) => (await find(mongo, { _id: id, files_partial: true })) !== null,
  };
}

const find = (mongo: Mongo, filter: Filter<DatasetRecord>) =>
  mongo.run(() => datasetsOf(mongo).findOne(filter, { projection: { _id: 1 } }));

/** The API lets one live dataset have a name: another one that has it here was renamed or deleted there since. */
async function freeName(mongo: Mongo, dataset: ToldDataset): Promise<void> {
  const { id, name, type, is_deleted } = dataset;
  if (is_deleted) return;
  const holder = await find(mongo, { name_key: nameKey({ _id: id, type, name, is_deleted }) });
  if (holder === null || holder._id === id) return;
  await change<DatasetRecord, void>(mongo, datasetsOf(mongo), holder._id, (other) =>
    other === null || other.name !== name || other.is_deleted
      ? { answer: undefined }
      : { answer: undefined, set: { is_deleted: true, name_key: String(other._id) } },
  );
}

function recordOf(
  dataset: ToldDataset,
  before: DatasetRecord | null,
  arrival: Arrival | undefined,
): Partial<DatasetRecord> {
  const { id, states, bundle, created_at, updated_at, du_size, size, ...plain } = dataset;
  const told = states?.toReversed().map(({ state, timestamp, metadata }) => ({
    state,
    timestamp: new Date(timestamp),
    metadata: asJson(metadata),
  }));
  const staged = told?.findLast(({ state }) => state === 'STAGED')?.timestamp;
  return {
    ...plain,
    metadata: asJson(plain.metadata),
    du_size: longOrNull('du_size', du_size),
    size: longOrNull('size', size),
    name_key: nameKey({ ...plain, _id: id }),
    created_at: new Date(created_at),
    updated_at: new Date(updated_at),
    project_id: arrival?.project_id ?? before?.project_id ?? null,
    bundle: bundle === undefined ? (before?.bundle ?? null) : bundleOf(bundle, before),
    report: before?.report ?? null,
    states: told ?? before?.states ?? [],
    last_staged_at: told === undefined ? (before?.last_staged_at ?? null) : (staged ?? null),
    ...(arrival === undefined ? {} : { outbox: addTo(before?.outbox, ...itemsOf(dataset, arrival)) }),
  };
}

/** Digests and proof belong to these very bytes; another bundle has those that the API knows. */
function bundleOf(
  { name, size, md5 }: NonNullable<ToldDataset['bundle']>,
  before: DatasetRecord | null,
): DatasetRecord['bundle'] {
  const known = before?.bundle ?? null;
  const kept = known !== null && known.size === size && known.md5 === md5 ? known : null;
  const digests = kept?.digests ?? (md5 === null ? {} : { md5 });
  return { name, size: longOf('bundle.size', size), md5, digests, verified_at: kept?.verified_at ?? null };
}

function itemsOf({ id, name, type, origin_path, create_method }: ToldDataset, { actor, workflow }: Arrival) {
  const details = { name, type, origin_path, create_method, workflow_id: workflow?.id ?? null };
  const entry = auditItem({ actor, action: 'dataset.register', subject: `dataset:${id}`, details });
  if (workflow === null) return [entry];
  return [{ collection: WORKFLOWS, document: newRecord({ ...workflow, dataset_id: id }) }, entry];
}

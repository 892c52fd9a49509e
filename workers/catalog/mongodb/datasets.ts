/** Reading, listing and changing datasets, and their states. */
import type { Filter } from 'mongodb';
import { mergeLayers } from '../../../config/layers.ts';
import type { Dataset } from '../../dataset/types.ts';
import { LongshoreError } from '../../errors.ts';
import { change } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { isDuplicateKey } from '../../mongodb/failure.ts';
import { asJson, jsonRead, longOf, longOrNull } from '../../mongodb/values.ts';
import { wellFormed } from '../../sqlite/values.ts';
import type { Catalog, DatasetPatch, DatasetQuery } from '../contract.ts';
import {
  type DatasetRecord,
  datasetOf,
  datasetsOf,
  loadDataset,
  missing,
  nameKey,
  readDataset,
  statesOf,
} from './documents.ts';

const DAY_MS = 86_400_000;

type DatasetCatalog = Pick<
  Catalog,
  'get' | 'list' | 'patch' | 'addState' | 'states' | 'putReport' | 'report'
>;

export function datasetCatalog(mongo: Mongo): DatasetCatalog {
  return {
    get: (id, include = {}) => loadDataset(mongo, id, include),
    list: (query) => list(mongo, query),
    patch: (id, patch) => applyPatch(mongo, id, patch),
    addState: (id, state, metadata = {}) =>
      change<DatasetRecord, void>(mongo, datasetsOf(mongo), id, (dataset) => {
        if (dataset === null) throw missing(id);
        const timestamp = new Date();
        const states = [...dataset.states, { state, timestamp, metadata: asJson(metadata) }];
        return {
          answer: undefined,
          set: { states, ...(state === 'STAGED' ? { last_staged_at: timestamp } : {}) },
        };
      }),
    states: async (id) => statesOf(await readDataset(mongo, id)),
    putReport: async (id, { report_id, path }) => {
      const set = { $set: { report: { report_id, path } } };
      const { matchedCount } = await mongo.run(() => datasetsOf(mongo).updateOne({ _id: id }, set));
      if (matchedCount === 0) throw missing(id);
      return { path };
    },
    report: async (id) => (await readDataset(mongo, id)).report,
  };
}

async function list(mongo: Mongo, query: DatasetQuery): Promise<{ count: number; datasets: Dataset[] }> {
  const filter = filterOf(query);
  const count = await mongo.run(() => datasetsOf(mongo).countDocuments(filter));
  if (query.limit === 0) return { count, datasets: [] };
  const records = await mongo.run(() =>
    datasetsOf(mongo)
      .find(filter, { projection: { states: 0, ops: 0 } })
      .sort({ updated_at: -1, _id: -1 })
      .skip(query.offset ?? 0)
      .limit(query.limit ?? 0)
      .toArray(),
  );
  return { count, datasets: records.map((record) => ({ ...datasetOf(record), bundle: record.bundle })) };
}

/** A name matches whatever its case, as in the reference, also when it must match as a whole. */
function filterOf(query: DatasetQuery): Filter<DatasetRecord> {
  const conditions: Filter<DatasetRecord>[] = [{ is_deleted: query.deleted === true }];
  if (query.type !== undefined) conditions.push({ type: query.type });
  if (query.name !== undefined) {
    const literal = query.name.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    const $regex = query.match_name_exact === true ? `^${literal}$` : literal;
    conditions.push({ name: { $regex, $options: 'i' } });
  }
  if (query.origin_path !== undefined) conditions.push({ origin_path: query.origin_path });
  if (query.archived !== undefined) conditions.push({ archive_path: query.archived ? { $ne: null } : null });
  if (query.staged !== undefined) conditions.push({ is_staged: query.staged });
  if (query.days_since_last_staged !== undefined) {
    const since = new Date(Date.now() - query.days_since_last_staged * DAY_MS);
    conditions.push({ is_staged: true, $or: [{ last_staged_at: null }, { last_staged_at: { $lt: since } }] });
  }
  return { $and: conditions };
}

async function applyPatch(mongo: Mongo, id: number, patch: DatasetPatch): Promise<Dataset> {
  try {
    await change<DatasetRecord, void>(mongo, datasetsOf(mongo), id, async (dataset) => {
      if (dataset === null) throw missing(id);
      const set = fieldsOf(patch, dataset);
      if (set.name_key !== undefined) await refuseTakenName(mongo, { ...dataset, ...set });
      return { answer: undefined, set };
    });
  } catch (error) {
    if (!isDuplicateKey(error)) throw error;
    // Somebody took it between the question and the write.
    await refuseTakenName(mongo, { ...(await readDataset(mongo, id)), ...patchedName(patch) });
    throw error;
  }
  return loadDataset(mongo, id, { bundle: true, states: true, workflows: true });
}

const patchedName = ({ name, is_deleted = false }: DatasetPatch) => ({
  is_deleted,
  ...(name === undefined ? {} : { name }),
});

async function refuseTakenName(
  mongo: Mongo,
  dataset: Pick<DatasetRecord, '_id' | 'name' | 'type' | 'is_deleted'>,
): Promise<void> {
  const { _id, name, type } = dataset;
  const taken = await mongo.run(() =>
    datasetsOf(mongo).findOne({ name_key: nameKey(dataset) }, { projection: { _id: 1 } }),
  );
  if (taken === null || taken._id === _id) return;
  throw new LongshoreError(
    'E_DATASET_EXISTS',
    `the name "${name}" of type ${type} belongs to dataset ${taken._id}`,
    { fields: { dataset_id: _id, name, type, taken_by: taken._id } },
  );
}

function fieldsOf(patch: DatasetPatch, before: DatasetRecord): Partial<DatasetRecord> {
  const set: Partial<DatasetRecord> = { updated_at: new Date() };
  if (patch.name !== undefined) set.name = wellFormed('name', patch.name);
  if (patch.origin_path !== undefined) set.origin_path = wellFormed('origin_path', patch.origin_path);
  for (const field of ['archive_path', 'staged_path', 'description'] as const) {
    const value = patch[field];
    if (value !== undefined) set[field] = value === null ? null : wellFormed(field, value);
  }
  for (const field of ['is_deleted', 'is_staged'] as const) {
    const value = patch[field];
    if (value !== undefined) set[field] = value;
  }
  for (const field of ['du_size', 'size'] as const) {
    const value = patch[field];
    if (value !== undefined) set[field] = longOrNull(field, value);
  }
  for (const field of ['num_files', 'num_directories'] as const) {
    const value = patch[field];
    if (value !== undefined) set[field] = longOrNull(field, value);
  }
  // By way of JSON, so that a key that is there but undefined does not wipe out a value.
  if (patch.metadata !== undefined)
    set.metadata = asJson(
      mergeLayers(jsonRead<Dataset['metadata']>(before.metadata), jsonRead(asJson(patch.metadata))),
    );
  if (patch.bundle === null) set.bundle = null;
  else if (patch.bundle !== undefined)
    set.bundle = { ...patch.bundle, size: longOf('bundle.size', patch.bundle.size) };
  const key = nameKey({ ...before, ...set, _id: before._id });
  return key === before.name_key ? set : { ...set, name_key: key };
}

/** What is stored of datasets, and how it is read. */
import { LongshoreError } from '../../errors.ts';
import { read, type Versioned } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { jsonRead, sizeRead } from '../../mongodb/values.ts';
import { deliver, type Outbox } from '../../mongodb/outbox.ts';
import type { Bundle, Dataset, DatasetStateName } from '../../dataset/types.ts';
import type { WorkflowRecord } from '../../records/mongodb/documents.ts';
import { workflowsOf } from '../../records/mongodb/settle.ts';

export interface StateRecord {
  state: DatasetStateName;
  timestamp: Date;
  /** JSON. */
  metadata: string;
}

type Plain = Omit<
  Dataset,
  'id' | 'created_at' | 'updated_at' | 'states' | 'workflows' | 'bundle' | 'project_id' | 'metadata'
>;

export interface DatasetRecord extends Versioned, Plain {
  _id: number;
  /** `TYPE/name` while it is not deleted; its id afterwards, so that the name is free again. Unique. */
  name_key: string;
  project_id: string | null;
  /** JSON. */
  metadata: string;
  created_at: Date;
  updated_at: Date;
  bundle: Bundle | null;
  report: { report_id: string; path: string } | null;
  /** Oldest first. */
  states: StateRecord[];
  last_staged_at: Date | null;
  /** Of a companion (mirror.ts). */
  files_partial?: boolean;
  outbox?: Outbox;
}

export interface Include {
  bundle?: boolean;
  states?: boolean;
  workflows?: boolean;
}

export const DATASETS = 'longshore_datasets';

export const datasetsOf = (mongo: Mongo) => mongo.collection<DatasetRecord>(DATASETS);

export const nameKey = (dataset: { _id: number; type: string; name: string; is_deleted: boolean }): string =>
  dataset.is_deleted ? String(dataset._id) : `${dataset.type}/${dataset.name}`;

export const missing = (id: number): LongshoreError =>
  new LongshoreError('E_DATASET_NOT_FOUND', `there is no dataset ${id}`, { fields: { dataset_id: id } });

/**
 * With everything that its registration decided in its place: a process may have been killed before it came so far.
 *
 * @throws E_DATASET_NOT_FOUND
 */
export async function readDataset(mongo: Mongo, id: number): Promise<DatasetRecord> {
  const found = await read(mongo, datasetsOf(mongo), id);
  if (found === null) throw missing(id);
  await deliver(mongo, datasetsOf(mongo), found);
  return found;
}

export function datasetOf(record: DatasetRecord): Dataset {
  const { _id, created_at, updated_at } = record;
  return {
    id: _id,
    name: record.name,
    type: record.type,
    origin_path: record.origin_path,
    archive_path: record.archive_path,
    staged_path: record.staged_path,
    is_deleted: record.is_deleted,
    is_staged: record.is_staged,
    du_size: sizeRead(record.du_size),
    size: sizeRead(record.size),
    num_files: record.num_files,
    num_directories: record.num_directories,
    metadata: jsonRead<Dataset['metadata']>(record.metadata),
    description: record.description,
    project_id: record.project_id,
    create_method: record.create_method,
    created_at: created_at.toISOString(),
    updated_at: updated_at.toISOString(),
  };
}

export async function loadDataset(mongo: Mongo, id: number, include: Include): Promise<Dataset> {
  const record = await readDataset(mongo, id);
  const dataset = datasetOf(record);
  if (include.bundle === true) dataset.bundle = record.bundle;
  if (include.states === true) dataset.states = statesOf(record);
  if (include.workflows === true) dataset.workflows = await workflowIdsOf(mongo, id);
  return dataset;
}

/** Newest first. */
export const statesOf = ({ states }: DatasetRecord): NonNullable<Dataset['states']> =>
  states
    .map(({ state, timestamp, metadata }) => ({
      state,
      timestamp: timestamp.toISOString(),
      metadata: jsonRead<Record<string, unknown>>(metadata),
    }))
    .toReversed();

async function workflowIdsOf(mongo: Mongo, dataset_id: number): Promise<{ id: string }[]> {
  const found = await mongo.run(() =>
    workflowsOf(mongo)
      .find({ dataset_id, deleting: { $ne: true } })
      .sort({ order: 1 })
      .project<Pick<WorkflowRecord, '_id'>>({ _id: 1 })
      .toArray(),
  );
  return found.map(({ _id }) => ({ id: _id }));
}

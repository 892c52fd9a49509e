/** Rows of datasets and what belongs to them, and how they are read. */
import { type ByteSize, byteSize } from '../../dataset/byte-size.ts';
import type { Bundle, Dataset, DatasetState } from '../../dataset/types.ts';
import { LongshoreError } from '../../errors.ts';
import type { Statements } from '../../sqlite/database.ts';
import { fromJson } from '../../sqlite/values.ts';

export interface DatasetRow {
  id: number;
  name: string;
  type: string;
  origin_path: string;
  archive_path: string | null;
  staged_path: string | null;
  is_deleted: number;
  is_staged: number;
  /** Decimal text, see DATASET. */
  du_size: string | null;
  size: string | null;
  num_files: number | null;
  num_directories: number | null;
  metadata: string;
  description: string | null;
  project_id: string | null;
  create_method: string | null;
  created_at: string;
  updated_at: string;
}

/** The columns of a row. A size may have 64 bits, which the driver reads as no number. */
export const DATASET = `id, name, type, origin_path, archive_path, staged_path, is_deleted, is_staged,
  cast(du_size as text) as du_size, cast(size as text) as size, num_files, num_directories, metadata, description,
  project_id, create_method, created_at, updated_at`;

type BundleRow = Omit<Bundle, 'digests'> & { dataset_id: number; digests: string };
type StateRow = Omit<DatasetState, 'metadata'> & { metadata: string };

export interface Include {
  bundle?: boolean;
  states?: boolean;
  workflows?: boolean;
}

export function datasetOf(row: DatasetRow): Dataset {
  return {
    ...row,
    is_deleted: row.is_deleted === 1,
    is_staged: row.is_staged === 1,
    du_size: sizeOf(row.du_size),
    size: sizeOf(row.size),
    metadata: fromJson(row.metadata),
  };
}

const sizeOf = (text: string | null): ByteSize | null => (text === null ? null : byteSize(BigInt(text)));

export function bundleOf({ name, size, md5, digests, verified_at }: BundleRow): Bundle {
  return { name, size, md5, digests: fromJson(digests), verified_at };
}

/** @throws E_DATASET_NOT_FOUND */
export function datasetRow(sql: Statements, id: number): DatasetRow {
  const row = sql.get<DatasetRow>(`select ${DATASET} from datasets where id = ?`, id);
  if (row !== undefined) return row;
  throw new LongshoreError('E_DATASET_NOT_FOUND', `there is no dataset ${id}`, {
    fields: { dataset_id: id },
  });
}

export const aliveRow = (sql: Statements, name: string, type: string): DatasetRow | undefined =>
  sql.get<DatasetRow>(
    `select ${DATASET} from datasets where name = ? and type = ? and is_deleted = 0`,
    name,
    type,
  );

export function loadDataset(sql: Statements, id: number, include: Include): Dataset {
  const dataset = datasetOf(datasetRow(sql, id));
  if (include.bundle === true) dataset.bundle = loadBundle(sql, id);
  if (include.states === true) dataset.states = loadStates(sql, id);
  if (include.workflows === true) dataset.workflows = loadWorkflowIds(sql, id);
  return dataset;
}

function loadBundle(sql: Statements, id: number): Bundle | null {
  const row = sql.get<BundleRow>('select * from bundles where dataset_id = ?', id);
  return row === undefined ? null : bundleOf(row);
}

/** Bundles of a whole page in one query. */
export function loadBundles(sql: Statements, ids: readonly number[]): Map<number, Bundle> {
  const rows = sql.all<BundleRow>(
    'select * from bundles where dataset_id in (select value from json_each(?))',
    JSON.stringify(ids),
  );
  return new Map(rows.map((row) => [row.dataset_id, bundleOf(row)]));
}

/** Newest first; two in the same millisecond stay in order by their row. */
export function loadStates(sql: Statements, id: number): DatasetState[] {
  return sql
    .all<StateRow>(
      'select state, timestamp, metadata from dataset_states where dataset_id = ? order by id desc',
      id,
    )
    .map((row) => ({ ...row, metadata: fromJson<Record<string, unknown>>(row.metadata) }));
}

const loadWorkflowIds = (sql: Statements, id: number): { id: string }[] =>
  sql
    .all<{ id: string }>('select id from workflows where dataset_id = ? order by number', id)
    .map((row) => ({ ...row }));

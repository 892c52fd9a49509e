/** Reading, listing and changing datasets. */
import type { SQLInputValue } from 'node:sqlite';
import { mergeLayers } from '../../../config/layers.ts';
import type { Bundle, Dataset } from '../../dataset/types.ts';
import { LongshoreError } from '../../errors.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { fromJson, now, toJson, wellFormed, wholeNumber, wholeSize } from '../../sqlite/values.ts';
import type { Catalog, DatasetPatch, DatasetQuery } from '../contract.ts';
import {
  aliveRow,
  DATASET,
  type DatasetRow,
  datasetOf,
  datasetRow,
  loadBundles,
  loadDataset,
} from './rows.ts';

const DAY_MS = 86_400_000;

export function datasetCatalog(database: Database): Pick<Catalog, 'get' | 'list' | 'patch'> {
  return {
    get: (id, include = {}) => database.read((sql) => loadDataset(sql, id, include)),
    list: (query) => database.read((sql) => list(sql, query)),
    // Durable: what is deleted at the origin or from the archive afterwards relies on it.
    patch: (id, patch) => database.write((sql) => applyPatch(sql, id, patch), { durable: true }),
  };
}

function list(sql: Statements, query: DatasetQuery): { count: number; datasets: Dataset[] } {
  const { filter, values } = filterOf(query);
  const count = sql.get<{ count: number }>(`select count(*) as count from datasets ${filter}`, ...values);
  const rows = sql.all<DatasetRow>(
    `select ${DATASET} from datasets ${filter} order by updated_at desc, id desc limit ? offset ?`,
    ...values,
    query.limit ?? -1,
    query.offset ?? 0,
  );
  const bundles = loadBundles(
    sql,
    rows.map((row) => row.id),
  );
  return {
    count: count?.count ?? 0,
    datasets: rows.map((row) => ({ ...datasetOf(row), bundle: bundles.get(row.id) ?? null })),
  };
}

/** A name matches whatever its case, as in the reference, also when it must match as a whole. */
function filterOf(query: DatasetQuery): { filter: string; values: SQLInputValue[] } {
  const conditions = ['is_deleted = ?'];
  const values: SQLInputValue[] = [query.deleted === true ? 1 : 0];
  const where = (condition: string, ...bound: SQLInputValue[]): void => {
    conditions.push(condition);
    values.push(...bound);
  };
  if (query.type !== undefined) where('type = ?', query.type);
  if (query.name !== undefined) {
    if (query.match_name_exact === true) where('name = ? collate nocase', query.name);
    else where(`name like ? escape '\\'`, `%${query.name.replace(/[\\%_]/g, '\\$&')}%`);
  }
  if (query.origin_path !== undefined) where('origin_path = ?', query.origin_path);
  if (query.archived !== undefined) where(`archive_path is ${query.archived ? 'not null' : 'null'}`);
  if (query.staged !== undefined) where('is_staged = ?', query.staged ? 1 : 0);
  if (query.days_since_last_staged !== undefined) {
    where(
      `is_staged = 1 and not exists (select 1 from dataset_states
         where dataset_id = datasets.id and state = 'STAGED' and timestamp >= ?)`,
      new Date(Date.now() - query.days_since_last_staged * DAY_MS).toISOString(),
    );
  }
  return { filter: `where ${conditions.join(' and ')}`, values };
}

function applyPatch(sql: Statements, id: number, patch: DatasetPatch): Dataset {
  const before = datasetRow(sql, id);
  refuseTakenName(sql, before, patch);
  const changes = columnsOf(patch, before);
  const columns = Object.keys(changes);
  sql.run(
    `update datasets set ${columns.map((column) => `${column} = ?`).join(', ')} where id = ?`,
    ...Object.values(changes),
    id,
  );
  if (patch.bundle === null) sql.run('delete from bundles where dataset_id = ?', id);
  else if (patch.bundle !== undefined) upsertBundle(sql, id, patch.bundle);
  return loadDataset(sql, id, { bundle: true, states: true, workflows: true });
}

function columnsOf(patch: DatasetPatch, before: DatasetRow): Record<string, SQLInputValue> {
  const changes: Record<string, SQLInputValue> = { updated_at: now() };
  for (const column of ['name', 'origin_path', 'archive_path', 'staged_path', 'description'] as const) {
    const value = patch[column];
    if (value !== undefined) changes[column] = value === null ? null : wellFormed(column, value);
  }
  for (const column of ['is_deleted', 'is_staged'] as const) {
    if (patch[column] !== undefined) changes[column] = patch[column] ? 1 : 0;
  }
  for (const column of ['du_size', 'size', 'num_files', 'num_directories'] as const) {
    const value = patch[column];
    if (value !== undefined) changes[column] = value === null ? null : wholeSize(column, value);
  }
  if (patch.metadata !== undefined) {
    // By way of JSON, so that a key that is there but undefined does not wipe out a value.
    const overlay = fromJson<object>(toJson(patch.metadata));
    changes.metadata = toJson(mergeLayers(fromJson<object>(before.metadata), overlay));
  }
  return changes;
}

function refuseTakenName(sql: Statements, before: DatasetRow, patch: DatasetPatch): void {
  const deleted = patch.is_deleted ?? before.is_deleted === 1;
  if (deleted) return;
  const name = patch.name ?? before.name;
  const taken = aliveRow(sql, name, before.type);
  if (taken === undefined || taken.id === before.id) return;
  throw new LongshoreError(
    'E_DATASET_EXISTS',
    `the name "${name}" of type ${before.type} belongs to dataset ${taken.id}`,
    { fields: { dataset_id: before.id, name, type: before.type, taken_by: taken.id } },
  );
}

function upsertBundle(sql: Statements, id: number, bundle: Bundle): void {
  sql.run(
    `insert into bundles (dataset_id, name, size, md5, digests, verified_at) values (?, ?, ?, ?, ?, ?)
     on conflict (dataset_id) do update set name = excluded.name, size = excluded.size, md5 = excluded.md5,
       digests = excluded.digests, verified_at = excluded.verified_at`,
    id,
    bundle.name,
    wholeNumber('bundle.size', bundle.size),
    bundle.md5,
    toJson(bundle.digests),
    bundle.verified_at,
  );
}

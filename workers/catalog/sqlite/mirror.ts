/** The companion of a REST catalog in a SQLite file. */
import type { SQLInputValue } from 'node:sqlite';
import { insertAudit } from '../../records/sqlite/audit.ts';
import { insertWorkflow } from '../../records/sqlite/workflows.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { toJson } from '../../sqlite/values.ts';
import type { Arrival, Extras, Mirror, ToldDataset } from '../mirror.ts';
import { aliveRow, loadBundles } from './rows.ts';

const COLUMNS = [
  'name',
  'type',
  'origin_path',
  'archive_path',
  'staged_path',
  'is_deleted',
  'is_staged',
  'du_size',
  'size',
  'num_files',
  'num_directories',
  'metadata',
  'description',
  'create_method',
  'created_at',
  'updated_at',
] as const;

const UPSERT = `insert into datasets (id, ${COLUMNS.join(', ')}) values (?, ${COLUMNS.map(() => '?').join(', ')})
  on conflict (id) do update set ${COLUMNS.map((name) => `${name} = excluded.${name}`).join(', ')}`;

/** A generation that no row has: a column would be a new version of the file, which older releases refuse. */
const PARTIAL = 'partial';
const NOTE = 'insert or ignore into file_generations (dataset_id, name) values (?, ?)';
const TAKE_BACK = 'delete from file_generations where dataset_id = ? and name = ?';

export function sqliteMirror(database: Database): Mirror {
  return {
    adopt: (dataset, arrival) =>
      database.write(
        (sql) => {
          takeOver(sql, dataset);
          if (arrival !== undefined) welcome(sql, dataset, arrival);
        },
        { durable: arrival !== undefined },
      ),
    has: (id) => database.read((sql) => sql.get('select 1 from datasets where id = ?', id) !== undefined),
    idOf: (name, type) => database.read((sql) => aliveRow(sql, name, type)?.id ?? null),
    extras: (ids) =>
      database.read((sql) => {
        const bundles = loadBundles(sql, ids);
        const rows = sql.all<{ id: number; project_id: string | null }>(
          'select id, project_id from datasets where id in (select value from json_each(?))',
          JSON.stringify(ids),
        );
        return new Map(
          rows.map(({ id, project_id }): [number, Extras] => [
            id,
            { project_id, bundle: bundles.get(id) ?? null },
          ]),
        );
      }),
    setFilesPartial: (id, partial) =>
      database.write((sql) => {
        sql.run(partial ? NOTE : TAKE_BACK, id, PARTIAL);
      }),
    hasPartialFiles: (id) =>
      database.read((sql) => {
        const found = sql.get(
          'select 1 from file_generations where dataset_id = ? and name = ?',
          id,
          PARTIAL,
        );
        return found !== undefined;
      }),
  };
}

function takeOver(sql: Statements, dataset: ToldDataset): void {
  // The API lets one live dataset have a name: another one that has it here was renamed or deleted there since.
  if (!dataset.is_deleted)
    sql.run(
      'update datasets set is_deleted = 1 where name = ? and type = ? and is_deleted = 0 and id <> ?',
      dataset.name,
      dataset.type,
      dataset.id,
    );
  sql.run(UPSERT, dataset.id, ...COLUMNS.map((column) => valueOf(dataset[column])));
  if (dataset.states !== undefined) {
    sql.run('delete from dataset_states where dataset_id = ?', dataset.id);
    for (const { state, timestamp, metadata } of dataset.states.toReversed())
      sql.run(
        'insert into dataset_states (dataset_id, state, timestamp, metadata) values (?, ?, ?, ?)',
        dataset.id,
        state,
        timestamp,
        toJson(metadata),
      );
  }
  if (dataset.bundle !== undefined) takeOverBundle(sql, dataset.id, dataset.bundle);
}

function takeOverBundle(sql: Statements, id: number, bundle: NonNullable<ToldDataset['bundle']>): void {
  const { name, size, md5 } = bundle;
  // Digests and proof belong to these very bytes; another bundle has those that the API knows.
  sql.run(
    `insert into bundles (dataset_id, name, size, md5, digests) values (?, ?, ?, ?, ?)
     on conflict (dataset_id) do update set
       digests = case when size = excluded.size and md5 is excluded.md5 then digests else excluded.digests end,
       verified_at = case when size = excluded.size and md5 is excluded.md5 then verified_at end,
       name = excluded.name, size = excluded.size, md5 = excluded.md5`,
    id,
    name,
    size,
    md5,
    toJson(md5 === null ? {} : { md5 }),
  );
}

function welcome(sql: Statements, dataset: ToldDataset, { actor, project_id, workflow }: Arrival): void {
  const { id, name, type, origin_path, create_method } = dataset;
  sql.run('update datasets set project_id = ? where id = ?', project_id, id);
  if (workflow !== null) insertWorkflow(sql, { ...workflow, dataset_id: id });
  const details = { name, type, origin_path, create_method, workflow_id: workflow?.id ?? null };
  insertAudit(sql, { actor, action: 'dataset.register', subject: `dataset:${id}`, details });
}

function valueOf(value: ToldDataset[(typeof COLUMNS)[number]]): SQLInputValue {
  if (typeof value === 'boolean') return value ? 1 : 0;
  return typeof value === 'object' && value !== null ? toJson(value) : (value ?? null);
}

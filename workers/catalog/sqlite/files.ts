/** The files of a dataset: a million rows, written and read in pages. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FileRow } from '../../dataset/types.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { fromJson, toJson, wellFormed, wholeNumber } from '../../sqlite/values.ts';
import type { FileCatalog } from '../contract.ts';
import { datasetRow } from './rows.ts';

type StoredFile = Omit<FileRow, 'digests' | 'fingerprint'> & { digests: string; fingerprint: string | null };

/** Rows per transaction: about 20 ms in which nobody else can write and this process renews no lease. */
const ROWS_AT_ONCE = 2_000;

export function fileCatalog(database: Database): FileCatalog {
  return {
    putFiles: async (id, rows, generation) => {
      const number = await database.write((sql) => generationNumber(sql, id, generation));
      for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
        if (start > 0) await nextTurn();
        const batch = rows.slice(start, start + ROWS_AT_ONCE);
        await database.write((sql) => upsertFiles(sql, id, number, batch));
      }
    },
    sweepFiles: (id, generation) => sweep(database, id, generation),
    files: (id, { after, limit }) =>
      database.read((sql) =>
        sql
          .all<StoredFile>(
            `select path, type, size, md5, digests, fingerprint from files
             where dataset_id = ? and path > ? order by path limit ?`,
            datasetRow(sql, id).id,
            after ?? '',
            limit,
          )
          .map(fileOf),
      ),
    filesAt: (id, paths) =>
      database.read((sql) =>
        sql
          .all<StoredFile>(
            `select path, type, size, md5, digests, fingerprint from files
             where dataset_id = ? and path in (select value from json_each(?))`,
            datasetRow(sql, id).id,
            JSON.stringify(paths),
          )
          .map(fileOf),
      ),
    countFiles: (id) =>
      database.read(
        (sql) =>
          sql.get<{ count: number }>('select count(*) as count from files where dataset_id = ?', id)?.count ??
          0,
      ),
  };
}

const fileOf = ({ fingerprint, ...row }: StoredFile): FileRow => ({
  ...row,
  digests: fromJson<Record<string, string>>(row.digests),
  ...(fingerprint === null ? {} : { fingerprint }),
});

function generationNumber(sql: Statements, id: number, generation: string): number {
  datasetRow(sql, id);
  sql.run('insert or ignore into file_generations (dataset_id, name) values (?, ?)', id, generation);
  return (
    sql.get<{ id: number }>(
      'select id from file_generations where dataset_id = ? and name = ?',
      id,
      generation,
    ) as { id: number }
  ).id;
}

function upsertFiles(sql: Statements, id: number, generation: number, rows: readonly FileRow[]): void {
  const upsert = sql.prepare(
    `insert into files (dataset_id, path, type, size, md5, digests, fingerprint, generation)
       values (?, ?, ?, ?, ?, ?, ?, ?)
     on conflict (dataset_id, path) do update set type = excluded.type, size = excluded.size,
       md5 = excluded.md5, digests = excluded.digests, fingerprint = excluded.fingerprint, generation = excluded.generation`,
  );
  for (const row of rows) {
    const path = wellFormed('file path', row.path);
    const size = wholeNumber(`size of ${path}`, row.size);
    const { type, md5, fingerprint = null } = row;
    upsert.run(id, path, type, size, md5, toJson(row.digests), fingerprint, generation);
  }
}

/** In path order with a cursor, so that rows that stay are passed over once and not once per batch. */
async function sweep(database: Database, id: number, generation: string): Promise<number> {
  const number = await database.write((sql) => generationNumber(sql, id, generation));
  let removed = 0;
  for (let after: string | undefined = ''; after !== undefined; ) {
    const from: string = after;
    const gone = await database.write((sql) => sweepBatch(sql, id, number, from));
    removed += gone.length;
    after = gone.length < ROWS_AT_ONCE ? undefined : gone.at(-1);
    await nextTurn();
  }
  await database.write((sql) =>
    sql.run('delete from file_generations where dataset_id = ? and id <> ?', id, number),
  );
  return removed;
}

function sweepBatch(sql: Statements, id: number, generation: number, after: string): string[] {
  const gone = sql.all<{ path: string }>(
    'select path from files where dataset_id = ? and generation <> ? and path > ? order by path limit ?',
    id,
    generation,
    after,
    ROWS_AT_ONCE,
  );
  const drop = sql.prepare('delete from files where dataset_id = ? and path = ?');
  for (const { path } of gone) drop.run(id, path);
  return gone.map(({ path }) => path);
}

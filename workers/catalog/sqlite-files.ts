/** The files of a dataset: a million rows, written and read in pages. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FileRow } from '../dataset/types.ts';
import type { Database, Statements } from '../sqlite/database.ts';
import { fromJson, toJson, wellFormed, wholeNumber } from '../sqlite/values.ts';
import type { Catalog } from './contract.ts';
import { datasetRow } from './sqlite-rows.ts';

type StoredFile = Omit<FileRow, 'digests'> & { digests: string };

/** Rows per transaction: about 20 ms in which nobody else can write and this process renews no lease. */
const ROWS_AT_ONCE = 2_000;

export function fileCatalog(
  database: Database,
): Pick<Catalog, 'putFiles' | 'sweepFiles' | 'files' | 'countFiles'> {
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
            `select path, type, size, md5, digests from files
             where dataset_id = ? and path > ? order by path limit ?`,
            datasetRow(sql, id).id,
            after ?? '',
            limit,
          )
          .map((row) => ({ ...row, digests: fromJson<Record<string, string>>(row.digests) })),
      ),
    countFiles: (id) =>
      database.read(
        (sql) =>
          sql.get<{ count: number }>('select count(*) as count from files where dataset_id = ?', id)?.count ??
          0,
      ),
  };
}

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
    `insert into files (dataset_id, path, type, size, md5, digests, generation) values (?, ?, ?, ?, ?, ?, ?)
     on conflict (dataset_id, path) do update set type = excluded.type, size = excluded.size,
       md5 = excluded.md5, digests = excluded.digests, generation = excluded.generation`,
  );
  for (const row of rows) {
    const path = wellFormed('file path', row.path);
    const size = wholeNumber(`size of ${path}`, row.size);
    upsert.run(id, path, row.type, size, row.md5, toJson(row.digests), generation);
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

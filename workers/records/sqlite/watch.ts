/** What the watch and other scripts remember between runs. */
import type { Database, Statements } from '../../sqlite/database.ts';
import { fromJson, toJson, wellFormed } from '../../sqlite/values.ts';
import type { Records, WatchMemory } from '../contract.ts';

export function watchMemory(database: Database): WatchMemory {
  return {
    known: (source) =>
      database.read(
        (sql) =>
          new Set(
            sql
              .all<{ name: string }>('select name from watched where source = ?', source)
              .map(({ name }) => name),
          ),
      ),
    apply: (source, { add = [], remove = [] }) =>
      database.write((sql) => {
        const insert = sql.prepare('insert or ignore into watched (source, name) values (?, ?)');
        for (const name of add) insert.run(source, wellFormed('folder name', name));
        const drop = sql.prepare('delete from watched where source = ? and name = ?');
        for (const name of remove) drop.run(source, name);
      }),
    counter: (source) => database.read((sql) => Number(readNote(sql, counterKey(source)) ?? 0)),
    setCounter: (source, scans) => database.write((sql) => writeNote(sql, counterKey(source), scans)),
  };
}

export function noteRecords(database: Database): Pick<Records, 'note' | 'setNote'> {
  return {
    note: (key) => database.read((sql) => readNote(sql, key)),
    setNote: (key, value) => database.write((sql) => writeNote(sql, key, value)),
  };
}

const counterKey = (source: string): string => `watch.scans ${source}`;

function readNote(sql: Statements, key: string): unknown {
  const row = sql.get<{ value: string }>('select value from notes where key = ?', key);
  return row === undefined ? null : fromJson<unknown>(row.value);
}

function writeNote(sql: Statements, key: string, value: unknown): void {
  if (value === null || value === undefined) sql.run('delete from notes where key = ?', key);
  else
    sql.run(
      'insert into notes (key, value) values (?, ?) on conflict (key) do update set value = excluded.value',
      key,
      toJson(value),
    );
}

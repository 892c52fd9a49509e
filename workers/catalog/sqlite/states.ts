/** States a dataset has passed through, and where its QC report is kept. */
import type { DatasetStateName } from '../../dataset/types.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { now, toJson } from '../../sqlite/values.ts';
import type { Catalog } from '../contract.ts';
import { datasetRow, loadStates } from './rows.ts';

export function stateCatalog(
  database: Database,
): Pick<Catalog, 'addState' | 'states' | 'putReport' | 'report'> {
  return {
    addState: (id, state, metadata = {}) =>
      database.write((sql) => {
        datasetRow(sql, id);
        insertState(sql, id, state, metadata);
      }),
    states: (id) => database.read((sql) => loadStates(sql, datasetRow(sql, id).id)),
    putReport: (id, { report_id, path }) =>
      database.write((sql) => {
        datasetRow(sql, id);
        sql.run(
          `insert into reports (dataset_id, report_id, path) values (?, ?, ?)
           on conflict (dataset_id) do update set report_id = excluded.report_id, path = excluded.path`,
          id,
          report_id,
          path,
        );
        return { path };
      }),
    report: (id) =>
      database.read((sql) => {
        const row = sql.get<{ report_id: string; path: string }>(
          'select report_id, path from reports where dataset_id = ?',
          datasetRow(sql, id).id,
        );
        return row === undefined ? null : { ...row };
      }),
  };
}

export function insertState(
  sql: Statements,
  id: number,
  state: DatasetStateName,
  metadata: Record<string, unknown>,
): void {
  sql.run(
    'insert into dataset_states (dataset_id, state, timestamp, metadata) values (?, ?, ?, ?)',
    id,
    state,
    now(),
    toJson(metadata),
  );
}

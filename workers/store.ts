/** The one place that chooses where datasets and records are kept. */
import type { Config } from '../config/index.ts';
import type { Catalog } from './catalog/contract.ts';
import { sqliteCatalog } from './catalog/sqlite.ts';
import type { Records } from './records/contract.ts';
import { sqliteRecords } from './records/sqlite.ts';
import { openDatabase } from './sqlite/database.ts';

export interface Store {
  readonly catalog: Catalog;
  readonly records: Records;
  close(): Promise<void>;
}

/** Catalog and records share one file, so that a dataset and its workflow are recorded in one transaction. */
export async function openStore(config: Config): Promise<Store> {
  const database = await openDatabase(config.catalog.path);
  return {
    catalog: sqliteCatalog(database),
    records: sqliteRecords(database),
    close: () => database.close(),
  };
}

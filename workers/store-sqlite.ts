/** Catalog and records in one file, so that a dataset and its workflow are recorded in one transaction. */
import type { Config } from '../config/index.ts';
import { sqliteCatalog } from './catalog/sqlite/catalog.ts';
import { sqliteRecords } from './records/sqlite/records.ts';
import { openDatabase } from './sqlite/database.ts';
import type { RestCompany } from './store-rest.ts';

export async function openSqliteStore(config: Config) {
  const database = await openDatabase(config.catalog.path);
  return {
    catalog: sqliteCatalog(database),
    records: sqliteRecords(database),
    close: () => database.close(),
  };
}

/** The records, a catalog for what the API cannot store, and what the API has yet to be told. */
export async function openSqliteCompany(config: Config): Promise<RestCompany> {
  const { openSpool, spoolPath } = await import('./catalog/rest/spool.ts');
  const { sqliteMirror } = await import('./catalog/sqlite/mirror.ts');
  const database = await openDatabase(config.catalog.path);
  return {
    companion: { catalog: sqliteCatalog(database), mirror: sqliteMirror(database) },
    records: sqliteRecords(database),
    spool: await openSpool(spoolPath(config)),
    close: () => database.close(),
  };
}

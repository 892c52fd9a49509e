/** The one place that chooses where datasets and records are kept. */
import type { Config } from '../config/index.ts';
import type { Catalog } from './catalog/contract.ts';
import type { Companion } from './catalog/mirror.ts';
import { openSpool, type Spool, spoolPath } from './catalog/rest-spool.ts';
import { sqliteCatalog } from './catalog/sqlite.ts';
import { sqliteMirror } from './catalog/sqlite-mirror.ts';
import { LongshoreError } from './errors.ts';
import type { Records } from './records/contract.ts';
import { sqliteRecords } from './records/sqlite.ts';
import { openDatabase } from './sqlite/database.ts';
import { openRest } from './store-rest.ts';

export interface Store {
  readonly catalog: Catalog;
  readonly records: Records;
  close(): Promise<void>;
}

/** @throws E_CONFIG for a back end that this release does not have */
export async function openStore(config: Config): Promise<Store> {
  switch (config.catalog.backend) {
    case 'sqlite':
      return openSqlite(config);
    case 'rest':
      return openRest(config, await openCompanion(config));
    case 'mongodb':
      throw new LongshoreError('E_CONFIG', `this release has no catalog "${config.catalog.backend}"`, {
        fields: { key: 'catalog.backend', value: config.catalog.backend },
      });
  }
}

/** Catalog and records share one file, so that a dataset and its workflow are recorded in one transaction. */
async function openSqlite(config: Config): Promise<Store> {
  const database = await openDatabase(config.catalog.path);
  return {
    catalog: sqliteCatalog(database),
    records: sqliteRecords(database),
    close: () => database.close(),
  };
}

/** What stands beside the REST API: the records, and a catalog in the same place for what the API cannot store. */
async function openCompanion(
  config: Config,
): Promise<{ companion: Companion; records: Records; spool: Spool; close: () => Promise<void> }> {
  if (config.records.backend !== 'sqlite')
    throw new LongshoreError(
      'E_CONFIG',
      `this release has no companion of the REST catalog in "${config.records.backend}"`,
      { fields: { key: 'records.backend', value: config.records.backend } },
    );
  const database = await openDatabase(config.catalog.path);
  return {
    companion: { catalog: sqliteCatalog(database), mirror: sqliteMirror(database) },
    records: sqliteRecords(database),
    spool: await openSpool(spoolPath(config)),
    close: () => database.close(),
  };
}

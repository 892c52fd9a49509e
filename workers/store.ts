/** The one place that chooses where datasets and records are kept. */
import type { Config } from '../config/index.ts';
import type { Catalog } from './catalog/contract.ts';
import { mongodbCatalog } from './catalog/mongodb.ts';
import { sqliteCatalog } from './catalog/sqlite.ts';
import { LongshoreError } from './errors.ts';
import { connectMongo } from './mongodb/connection.ts';
import { makeIndexes } from './mongodb/indexes.ts';
import type { Records } from './records/contract.ts';
import { mongodbRecords } from './records/mongodb.ts';
import { sqliteRecords } from './records/sqlite.ts';
import { openDatabase } from './sqlite/database.ts';

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
    case 'mongodb':
      return openMongodb(config);
    case 'rest':
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

/** One client for both. */
async function openMongodb(config: Config): Promise<Store> {
  const mongo = await connectMongo(config);
  try {
    await makeIndexes(mongo);
  } catch (error) {
    await mongo.close();
    throw error;
  }
  return { catalog: mongodbCatalog(mongo), records: mongodbRecords(mongo), close: () => mongo.close() };
}

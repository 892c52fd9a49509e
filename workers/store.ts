/** The one place that chooses where datasets and records are kept. */
import type { Config } from '../config/index.ts';
import type { Catalog } from './catalog/contract.ts';
import { mongodbCatalog } from './catalog/mongodb.ts';
import { mongodbMirror } from './catalog/mongodb-mirror.ts';
import { mongodbSpool } from './catalog/mongodb-spool.ts';
import { openSpool, spoolPath } from './catalog/rest-spool.ts';
import { sqliteCatalog } from './catalog/sqlite.ts';
import { sqliteMirror } from './catalog/sqlite-mirror.ts';
import { connectMongo, type Mongo } from './mongodb/connection.ts';
import { makeIndexes } from './mongodb/indexes.ts';
import type { Records } from './records/contract.ts';
import { mongodbRecords } from './records/mongodb.ts';
import { sqliteRecords } from './records/sqlite.ts';
import { openDatabase } from './sqlite/database.ts';
import { openRest, type RestCompany } from './store-rest.ts';

export interface Store {
  readonly catalog: Catalog;
  readonly records: Records;
  close(): Promise<void>;
}

export async function openStore(config: Config): Promise<Store> {
  switch (config.catalog.backend) {
    case 'sqlite':
      return openSqlite(config);
    case 'mongodb':
      return openMongodb(config);
    case 'rest':
      return openRest(config, await openCompanion(config));
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
  const mongo = await openMongo(config);
  return { catalog: mongodbCatalog(mongo), records: mongodbRecords(mongo), close: () => mongo.close() };
}

async function openMongo(config: Config): Promise<Mongo> {
  const mongo = await connectMongo(config);
  try {
    await makeIndexes(mongo);
    return mongo;
  } catch (error) {
    await mongo.close();
    throw error;
  }
}

/**
 * What stands beside the REST API, where `records.backend` says: the records, a catalog for what the API cannot store, and
 * what the API has yet to be told.
 */
async function openCompanion(config: Config): Promise<RestCompany> {
  if (config.records.backend === 'mongodb') {
    const mongo = await openMongo(config);
    return {
      companion: { catalog: mongodbCatalog(mongo), mirror: mongodbMirror(mongo) },
      records: mongodbRecords(mongo),
      spool: mongodbSpool(mongo),
      close: () => mongo.close(),
    };
  }
  const database = await openDatabase(config.catalog.path);
  return {
    companion: { catalog: sqliteCatalog(database), mirror: sqliteMirror(database) },
    records: sqliteRecords(database),
    spool: await openSpool(spoolPath(config)),
    close: () => database.close(),
  };
}

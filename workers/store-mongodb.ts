/** Catalog and records in one database, by one client. */
import type { Config } from '../config/index.ts';
import { mongodbCatalog } from './catalog/mongodb/catalog.ts';
import { mongodbMirror } from './catalog/mongodb/mirror.ts';
import { mongodbSpool } from './catalog/mongodb/spool.ts';
import { connectMongo, type Mongo } from './mongodb/connection.ts';
import { makeIndexes } from './mongodb/indexes.ts';
import { claimVersion } from './mongodb/version.ts';
import { mongodbRecords } from './records/mongodb/records.ts';
import type { RestCompany } from './store-rest.ts';

export interface StoreOptions {
  /** Of a process whose callers wait for each answer: instead of `mongodb.patience_seconds`, once MongoDB was reached. */
  patience_seconds?: number;
}

export async function openMongodbStore(config: Config, options: StoreOptions) {
  const mongo = await openMongo(config, options);
  return { catalog: mongodbCatalog(mongo), records: mongodbRecords(mongo), close: () => mongo.close() };
}

/** The records, a catalog for what the API cannot store, and what the API has yet to be told. */
export async function openMongodbCompany(config: Config, options: StoreOptions): Promise<RestCompany> {
  const mongo = await openMongo(config, options);
  return {
    companion: { catalog: mongodbCatalog(mongo), mirror: mongodbMirror(mongo) },
    records: mongodbRecords(mongo),
    spool: mongodbSpool(mongo),
    close: () => mongo.close(),
  };
}

async function openMongo(config: Config, { patience_seconds }: StoreOptions): Promise<Mongo> {
  const mongo = await connectMongo(config, patience_seconds);
  try {
    // Before anything is written: what a newer release needs is not ours to change.
    await claimVersion(mongo);
    await makeIndexes(mongo);
    return mongo;
  } catch (error) {
    await mongo.close();
    throw error;
  }
}

/** The one place that chooses where datasets and records are kept. */
import type { Config } from '../config/index.ts';
import type { Catalog } from './catalog/contract.ts';
import type { Records } from './records/contract.ts';
import type { StoreOptions } from './store-mongodb.ts';

export interface Store {
  readonly catalog: Catalog;
  readonly records: Records;
  close(): Promise<void>;
}

/**
 * Each back end is loaded where it is used: MongoDB's driver and the client of the REST API are 300 files, with which the
 * process of every task would begin (0.2 s of processor time).
 */
export async function openStore(config: Config, options: StoreOptions = {}): Promise<Store> {
  switch (config.catalog.backend) {
    case 'sqlite':
      return (await import('./store-sqlite.ts')).openSqliteStore(config);
    case 'mongodb':
      return (await import('./store-mongodb.ts')).openMongodbStore(config, options);
    case 'rest': {
      const { openRest } = await import('./store-rest.ts');
      return openRest(config, await openCompany(config, options));
    }
  }
}

/** What stands beside the REST API, where `records.backend` says. */
async function openCompany(config: Config, options: StoreOptions) {
  if (config.records.backend === 'mongodb')
    return (await import('./store-mongodb.ts')).openMongodbCompany(config, options);
  return (await import('./store-sqlite.ts')).openSqliteCompany(config);
}

import type { Mongo } from '../../mongodb/connection.ts';
import type { Catalog } from '../contract.ts';
import { copyCatalog } from './copies.ts';
import { datasetCatalog } from './datasets.ts';
import { fileCatalog } from './files.ts';
import { registrationCatalog } from './registration.ts';

/** The catalog in the database that `mongo` has open; closing it closes that. */
export function mongodbCatalog(mongo: Mongo): Catalog {
  return {
    // Not one transaction, and yet one unit: the insert of the dataset decides for both.
    capabilities: { atomicRegistration: true, memberDigests: ['md5'] },
    ...registrationCatalog(mongo),
    ...datasetCatalog(mongo),
    ...fileCatalog(mongo),
    ...copyCatalog(mongo),
    close: () => mongo.close(),
  };
}

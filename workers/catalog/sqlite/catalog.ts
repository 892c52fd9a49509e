import type { Database } from '../../sqlite/database.ts';
import type { Catalog } from '../contract.ts';
import { copyCatalog } from './copies.ts';
import { datasetCatalog } from './datasets.ts';
import { fileCatalog } from './files.ts';
import { registrationCatalog } from './registration.ts';
import { stateCatalog } from './states.ts';

/** The catalog in the file that `database` has open; closing it closes that. */
export function sqliteCatalog(database: Database): Catalog {
  return {
    capabilities: { atomicRegistration: true, memberDigests: [] },
    ...registrationCatalog(database),
    ...datasetCatalog(database),
    ...stateCatalog(database),
    ...fileCatalog(database),
    ...copyCatalog(database),
    close: () => database.close(),
  };
}

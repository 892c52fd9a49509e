/** Which releases may use a database: what the version of the file is to SQLite. */
import { LongshoreError } from '../errors.ts';
import { change, read, type Versioned } from './change.ts';
import type { Mongo } from './connection.ts';

/**
 * Of the documents that this release writes. Raised when a release before it would misread or spoil them; what is only added,
 * and what older ones leave alone, needs no other, so that the hosts of a fleet may be upgraded one after the other.
 */
export const DOCUMENTS_VERSION = 1;

interface VersionRecord extends Versioned {
  _id: 'documents';
  version: number;
}

/** Without claiming it: 0 where nothing was ever written. */
export async function newestVersion(mongo: Mongo): Promise<{ version: number; isNewer: boolean }> {
  const found = await read(mongo, versionsOf(mongo), 'documents');
  const version = found?.version ?? 0;
  return { version, isNewer: version > DOCUMENTS_VERSION };
}

const versionsOf = (mongo: Mongo) => mongo.collection<VersionRecord>('longshore_version');

/** @throws E_OUTDATED when a newer release has begun to write here; it is left as it is */
export async function claimVersion(mongo: Mongo): Promise<void> {
  const version = await change(mongo, versionsOf(mongo), 'documents', (before) => {
    const found = before?.version ?? 0;
    if (found >= DOCUMENTS_VERSION) return { answer: found };
    return { answer: DOCUMENTS_VERSION, set: { version: DOCUMENTS_VERSION } };
  });
  if (version <= DOCUMENTS_VERSION) return;
  throw new LongshoreError(
    'E_OUTDATED',
    `the documents in MongoDB have version ${version}; this Longshore knows versions up to ${DOCUMENTS_VERSION}`,
    { fields: { version, known: DOCUMENTS_VERSION } },
  );
}

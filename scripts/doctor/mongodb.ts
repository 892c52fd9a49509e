import { performance } from 'node:perf_hooks';
import type { Config } from '../../config/index.ts';
import { coerceError } from '../../workers/errors.ts';
import { connectMongo, type Mongo } from '../../workers/mongodb/connection.ts';
import { missingIndexes } from '../../workers/mongodb/indexes.ts';
import { DOCUMENTS_VERSION, newestVersion } from '../../workers/mongodb/version.ts';
import { duration } from '../cli/format.ts';
import { type Finding, finding, ok, problem } from './finding.ts';

/** A write waits for the majority of the servers. */
const SLOW_MS = 500;

/** Asks once: waiting for a server that is away is for workers. */
export async function* mongodbFindings(config: Config): AsyncGenerator<Finding> {
  const expected = 'a MongoDB server that answers';
  let mongo: Mongo;
  try {
    mongo = await connectMongo({ ...config, mongodb: { ...config.mongodb, patience_seconds: 0 } });
  } catch (error) {
    const { message, hint } = coerceError(error);
    yield problem('catalog.mongodb', { seen: message, expected, remedy: hint });
    return;
  }
  try {
    yield ok('catalog.mongodb', { seen: `database ${mongo.database}`, expected });
    yield judgeVersion(await newestVersion(mongo));
    yield judgeIndexes(await missingIndexes(mongo));
    yield await roundTrip(mongo);
  } finally {
    await mongo.close();
  }
}

function judgeVersion({ version, isNewer }: { version: number; isNewer: boolean }): Finding {
  return finding(isNewer ? 'problem' : 'ok', 'catalog.version', {
    seen: version === 0 ? 'nothing is written yet' : `version ${version}`,
    expected: `documents of version ${DOCUMENTS_VERSION}, that of this release, or older`,
    remedy: 'Run the release that writes these documents, or a newer one.',
  });
}

export function judgeIndexes(missing: readonly string[]): Finding {
  return finding(missing.length === 0 ? 'ok' : 'warning', 'catalog.indexes', {
    seen: missing.length === 0 ? 'all there' : `missing: ${missing.join(', ')}`,
    expected: 'every index of this release',
    remedy: 'The next start of a worker makes them; lists are slow until then.',
  });
}

/** Writes a document of its own, and takes it back. */
async function roundTrip(mongo: Mongo): Promise<Finding> {
  const expected = `a write within ${SLOW_MS} ms`;
  const begun = performance.now();
  try {
    const notes = mongo.collection<{ _id: string }>('longshore_doctor');
    const _id = `${process.pid}-${Date.now()}`;
    await mongo.run(() => notes.insertOne({ _id }));
    await mongo.run(() => notes.deleteOne({ _id }));
  } catch (error) {
    const { message, hint } = coerceError(error);
    return problem('catalog.round_trip', { seen: message, expected, remedy: hint });
  }
  const took = performance.now() - begun;
  return finding(took > SLOW_MS ? 'warning' : 'ok', 'catalog.round_trip', {
    seen: `a write in ${duration(took / 1000)}`,
    expected,
    remedy: 'Look at the load of the server, and at how far its secondaries are behind.',
  });
}

import { randomBytes } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { describe, inject, onTestFinished, test } from 'vitest';
import { makePlace, type Place } from './place.ts';

const NONE =
  'no MongoDB server: set MONGODB_URL, or have Go 1.22 or newer and run `sh tests/services/ferretdb/build.sh`';

/** The server that the suite brought up itself. */
export const isFerretdb = (): boolean => inject('ferretdb');

/** As describe; without a server one test stands for all of them and says that they did not run. */
export function describeMongodb(title: string, body: () => void): void {
  if (inject('mongodb') !== '') describe(title, body);
  else describe(title, () => test('everything here', ({ skip }) => skip(NONE)));
}

/** Settings that keep catalog and records in a database of their own, which goes with the test. */
export function inOwnDatabase(): {
  catalog: object;
  records: object;
  mongodb: { url: string; database: string };
} {
  const database = `longshore_test_${randomBytes(6).toString('hex')}`;
  const url = inject('mongodb');
  onTestFinished(async () => {
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 5_000 });
    await client.db(database).dropDatabase();
    await client.close();
  });
  return { catalog: { backend: 'mongodb' }, records: { backend: 'mongodb' }, mongodb: { url, database } };
}

/** A place with these. */
export async function mongoPlace(overrides: Record<string, unknown> = {}): Promise<Place> {
  const own = inOwnDatabase();
  return makePlace({ ...own, ...overrides, mongodb: { ...own.mongodb, ...(overrides.mongodb as object) } });
}

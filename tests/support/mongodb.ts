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

/** A place whose catalog and records are in a database of its own, which goes with it. */
export async function mongoPlace(overrides: Record<string, unknown> = {}): Promise<Place> {
  const database = `longshore_test_${randomBytes(6).toString('hex')}`;
  const { mongodb = {}, ...others } = overrides as { mongodb?: object };
  const url = inject('mongodb');
  onTestFinished(async () => {
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 5_000 });
    await client.db(database).dropDatabase();
    await client.close();
  });
  return makePlace({
    catalog: { backend: 'mongodb' },
    records: { backend: 'mongodb' },
    ...others,
    mongodb: { url, database, ...mongodb },
  });
}

import { onTestFinished, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import { randomOf } from '../../bench/chaos/random.ts';
import { openStore } from '../../workers/store.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { makePlace } from '../support/place.ts';
import { walk } from '../support/walk.ts';
import { callsOnRecords, type Keeper } from './walk.ts';

/** Thirty walks of 400 calls found nothing more. */
const SEEDS = [1, 2, 3];
const CALLS = 150;

describeMongodb('records in SQLite and in MongoDB', () => {
  test.each(SEEDS)('answer any order of calls alike (seed %i)', async (seed) => {
    const SQLite = await keeper((await makePlace()).config);
    const MongoDB = await keeper((await mongoPlace()).config);
    await walk({ SQLite, MongoDB }, callsOnRecords(randomOf(seed), CALLS));
  });
});

async function keeper(config: Config): Promise<Keeper> {
  const store = await openStore(config);
  onTestFinished(() => store.close());
  return { records: store.records, keys: [] };
}

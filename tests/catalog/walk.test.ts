import { onTestFinished, test } from 'vitest';
import { randomOf } from '../../bench/chaos/random.ts';
import type { Config } from '../../config/index.ts';
import { openStore } from '../../workers/store.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { makePlace } from '../support/place.ts';
import { walk } from '../support/walk.ts';
import { callsOnCatalog, NUMBERED, type Shelf } from './walk.ts';

/** Fifteen walks of 250 calls found nothing more. */
const SEEDS = [1, 2, 3];
const CALLS = 100;

// Not behind the REST API: what that cannot forget (file rows, a bundle) it keeps, with a mark.
describeMongodb('catalogs in SQLite and in MongoDB', () => {
  test.each(SEEDS)('answer any order of calls alike (seed %i)', async (seed) => {
    const SQLite = await shelf((await makePlace()).config);
    const MongoDB = await shelf((await mongoPlace()).config);
    await walk({ SQLite, MongoDB }, callsOnCatalog(randomOf(seed), CALLS), { numbered: NUMBERED });
  });
});

async function shelf(config: Config): Promise<Shelf> {
  const store = await openStore(config);
  onTestFinished(() => store.close());
  return { catalog: store.catalog, ids: [] };
}

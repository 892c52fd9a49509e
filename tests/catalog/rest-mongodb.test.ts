import { expect, onTestFinished, test } from 'vitest';
import type { RestCatalog } from '../../workers/catalog/rest/catalog.ts';
import { openStore } from '../../workers/store.ts';
import type { OpenStore } from '../records/fixture.ts';
import { startBioloopApi } from '../support/bioloop-api.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { restOverrides, startBatteryApi } from '../support/rest-place.ts';
import { until } from '../support/until.ts';
import { catalogBattery } from './contract.ts';
import { created } from './contract-datasets.ts';
import { makeRegistration } from './registration.ts';

const open: OpenStore = (config) => openStore(config);
open.place = async () => mongoPlace(restOverrides(await startBatteryApi()));
open.slow = true;

describeMongodb('catalog behind the REST API, its companion in MongoDB', () => {
  catalogBattery(open);

  test('what one host could not tell the API another one tells, in the order of both', async () => {
    const double = await startBioloopApi();
    const place = await mongoPlace(restOverrides(double));
    const stores = await Promise.all([openStore(place.config), openStore(place.config)]);
    for (const store of stores) onTestFinished(() => store.close());
    const [one, other] = stores.map(({ catalog }) => catalog as RestCatalog) as [RestCatalog, RestCatalog];
    const { id } = created((await one.register([{ dataset: makeRegistration().dataset }], 'x'))[0]);
    double.fail('', { kind: 'status', status: 503 });
    for (let n = 0; n < 10; n++) await (n % 2 === 0 ? one : other).addState(id, 'READY', { n });
    expect((await other.get(id, { states: true })).states).toHaveLength(11);
    double.heal();
    await until(async () => (await one.spool.waiting()) === 0);
    const turns = double.store
      .dataset(id)
      .states.slice(1)
      .map(({ metadata }) => (metadata as { n: number }).n);
    expect(turns).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('rows of another system that came in part are not taken for all of them', async () => {
    const double = await startBioloopApi();
    const place = await mongoPlace(restOverrides(double));
    const stores = await Promise.all([openStore(place.config), openStore(place.config)]);
    for (const store of stores) onTestFinished(() => store.close());
    const [one, other] = stores.map(({ catalog }) => catalog) as [RestCatalog, RestCatalog];
    const { id } = created((await one.register([{ dataset: makeRegistration().dataset }], 'x'))[0]);
    Object.assign(double.store.dataset(id), { num_files: 2_500 });
    double.store.addFiles(
      id,
      Array.from({ length: 2_500 }, (_, n) => ({
        path: `${n}`,
        md5: 'f'.repeat(32),
        size: '1',
        type: 'file',
      })),
    );
    await one.get(id);
    double.fail('GET datasets/:id', { kind: 'cut', share: 0.9 }, 1);
    await expect(one.files(id, { limit: 1 })).rejects.toMatchObject({ code: 'E_API_UNAVAILABLE' });
    expect(await other.countFiles(id)).toBe(2_500);
  });
});

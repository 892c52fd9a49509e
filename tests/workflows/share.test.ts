import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { openStore } from '../../workers/store.ts';
import { shareOf } from '../../workers/workflows/share.ts';
import { makePlace } from '../support/place.ts';

test.each([
  ['project', 'P-1'],
  ['type', 'RAW_DATA'],
  ['metadata.lab', 'Curie'],
  ['metadata.nothing', ''],
])('the share of a dataset by %s is "%s"', async (share_by, expected) => {
  const place = await makePlace({ queue: { share_by } });
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const dataset = {
    name: 'run_1',
    type: 'RAW_DATA',
    origin_path: place.dir('origin/run_1'),
    project_id: 'P-1',
    create_method: 'TEST' as const,
    metadata: { lab: 'Curie' },
  };
  const [made] = await store.catalog.register([{ dataset }], 'test');
  const id = made?.outcome === 'created' ? made.dataset.id : -1;
  const share = shareOf(place.config, store, createLogger('test'));
  expect(await share(id)).toBe(expected);
  expect(await share(id + 1), 'of a dataset that is not there').toBe('');
});

import { expect, onTestFinished, test } from 'vitest';
import { liveDataset } from '../../workers/dataset/lifecycle.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';

test.each([[null], [Number.NaN], ['12'], [1.5]])(
  'a step that was given %s in place of a dataset says how it is started for one',
  async (given) => {
    const { config } = await makePlace();
    const store = await openStore(config);
    onTestFinished(() => store.close());
    await expect(liveDataset(store.catalog, given as number)).rejects.toMatchObject({
      code: 'E_DATASET_NOT_FOUND',
      message: 'this workflow was started for no dataset',
      hint: expect.stringContaining('longshore start <workflow> <dataset>'),
    });
  },
);

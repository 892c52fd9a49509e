import { expect, onTestFinished, test } from 'vitest';
import { liveDataset, reachState } from '../../workers/dataset/lifecycle.ts';
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

async function makeDataset() {
  const { config } = await makePlace();
  const store = await openStore(config);
  onTestFinished(() => store.close());
  const { catalog } = store;
  const [made] = await catalog.register(
    [{ dataset: { name: 'run', type: 'RAW_DATA', origin_path: '/run', create_method: 'TEST' } }],
    'test',
  );
  if (made?.outcome !== 'created') throw new Error('not registered');
  return { catalog, id: made.dataset.id };
}

test('no step works on a dataset that was deleted', async () => {
  const { catalog, id } = await makeDataset();
  expect((await liveDataset(catalog, id)).name).toBe('run');
  await catalog.patch(id, { is_deleted: true });
  await expect(liveDataset(catalog, id)).rejects.toMatchObject({
    code: 'E_DATASET_DELETED',
    fields: { dataset_id: id },
  });
});

test('a state is said once by a workflow, and again by the next one that comes there', async () => {
  const { catalog, id } = await makeDataset();
  for (const workflow of ['one', 'one', 'two']) await reachState(catalog, id, 'ARCHIVED', workflow);
  await reachState(catalog, id, 'STAGED', 'two', { reason: 'asked for' });
  await reachState(catalog, id, 'ARCHIVED', 'two');
  const states = (await catalog.states(id)).map(({ state, metadata }) => [state, metadata.workflow_id]);
  expect(states.toReversed()).toEqual([
    ['REGISTERED', undefined],
    ['ARCHIVED', 'one'],
    ['ARCHIVED', 'two'],
    ['STAGED', 'two'],
    ['ARCHIVED', 'two'],
  ]);
});

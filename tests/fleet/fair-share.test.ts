import { expect, test } from 'vitest';
import { makeFleet } from '../support/fleet.ts';

test("with one slot, the late dataset of another project is landed after one of the first project's, not after all", async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 } });
  const start = async (project_id: string, step: string): Promise<string> => {
    const origin_path = fleet.place.dir('origin', step);
    const dataset = { name: step, type: 'RAW_DATA', origin_path, project_id, create_method: 'TEST' as const };
    const [made] = await fleet.store.catalog.register([{ dataset }], 'test');
    if (made?.outcome !== 'created') throw new Error('not registered');
    return fleet.start({ [step]: {} }, { dataset_id: made.dataset.id });
  };
  const ids = [];
  for (let number = 0; number < 6; number += 1) ids.push(await start('A', `a${number}`));
  ids.push(await start('B', 'b'));
  await fleet.worker();
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  const order = fleet.events('start').map(({ step }) => step);
  expect(order.indexOf('b')).toBeLessThan(3);
  expect(order.filter((step) => step !== 'b')).toEqual(['a0', 'a1', 'a2', 'a3', 'a4', 'a5']);
});

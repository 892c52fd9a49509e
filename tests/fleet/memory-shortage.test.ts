/** Jobs that together need more memory than there is: the worker gives up some of them before the kernel kills one. */
import { writeFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { scaleHistory } from '../../workers/queue/scale-history.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { makeFleet } from '../support/fleet.ts';
import { limitMemory } from '../support/memory-limit.ts';
import { until } from '../support/until.ts';

const MB = 1_000_000;

test('in a container that gets full, the youngest jobs are handed back, the kernel kills none, and all end', async ({
  skip,
}) => {
  const limit = limitMemory(1_250 * MB);
  if (limit === null) return skip('NOT TESTED: needs root, to limit memory by a cgroup');
  const fleet = await makeFleet({
    autoscale: {
      min: 2,
      max: 6,
      calm_seconds: 0.5,
      hold: { memory_used_percent: 50 },
      shrink: { memory_used_percent: 55 },
      hand_back: { memory_used_percent: 65 },
    },
  });
  const gate = fleet.place.path('gate');
  const worker = await fleet.worker();
  limit.hold(worker.pid);
  const ids = [];
  for (let job = 0; job < 6; job += 1)
    ids.push(await fleet.start({ hoard: { hoard_bytes: 250 * MB, until_file: gate } }));
  const { config } = fleet.place;
  const side = await openQueueSide(config, { log: createLogger('test'), wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const handedBack = async () => {
    const history = await scaleHistory(side.redis, config, 100);
    return history.filter(({ action }) => action === 'hand back');
  };
  // Two of them have room with all that they take, and the worker with them.
  await until(async () => (await handedBack()).length >= 2, { what: 'jobs to be handed back' });
  await until(() => fleet.events('hoarded').length >= 2, { what: 'those that stay to have all they want' });
  writeFileSync(gate, '');
  await Promise.all(ids.map((id) => fleet.reaches(id, 'SUCCESS')));
  expect(limit.kills()).toBe(0);
  expect((await handedBack())[0]?.reason).toMatch(/^\d+ % of the memory is used; hoard of dataset \d+ was/);

  const attempts = await Promise.all(
    ids.map(async (id) => {
      const run = (await fleet.store.records.workflowWithRuns(id))?.last_runs[0];
      return fleet.store.records.attempts(run?._id ?? '');
    }),
  );
  const postponed = attempts.flat().filter(({ outcome }) => outcome === 'postponed');
  expect(postponed.length).toBeGreaterThanOrEqual(2);
  for (const { reason } of postponed)
    expect(reason).toMatch(/^handed back by its worker: \d+ % of the memory/);
  // Who began first keeps what it has done.
  expect(attempts.slice(0, 2).map((of) => of.length)).toEqual([1, 1]);
  expect(attempts.flat().filter(({ outcome }) => outcome !== 'postponed' && outcome !== 'success')).toEqual(
    [],
  );
});

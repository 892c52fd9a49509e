import { expect, test } from 'vitest';
import { assertTaken, type FleetView } from '../../workers/workflows/fleet.ts';

const workerOf = (queue: string): FleetView['workers'][number] =>
  ({ state: 'working', queues: [{ queue }] }) as FleetView['workers'][number];

const viewOf = (...served: string[]): FleetView => ({
  workers: served.map(workerOf),
  queues: [],
  jobs: {},
  unfit: null,
  refused: null,
});

const step = (queue: string) => ({ steps: [{ name: 'look', task: 'look', queue, priority: 0, kwargs: {} }] });

const refusal = (queue: string, fleet: FleetView): unknown => {
  try {
    assertTaken(step(queue) as never, fleet);
    return null;
  } catch (error) {
    return error;
  }
};

test('a queue that no worker serves is told with those that workers serve; without workers, how to start one', () => {
  expect(refusal('lab.q', viewOf('lab.q'))).toBeNull();
  expect(refusal('mistyped.q', viewOf('lab.q', 'tape.q'))).toMatchObject({
    code: 'E_NO_WORKER',
    message: 'No worker takes jobs from queue mistyped.q',
    hint: expect.stringMatching(/^Workers take jobs from lab\.q, tape\.q\. .*config\.workers/),
  });
  expect(refusal('mistyped.q', viewOf())).toMatchObject({ hint: expect.stringContaining('npm start') });
});

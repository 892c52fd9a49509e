import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { roleOf } from '../../workers/fleet/routing.ts';
import { type Fleet, makeFleet, startWorker } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

test('a worker takes the queues of its app, with limits of their own, or the one that is named by hand', async () => {
  const { config } = await makePlace({
    app_id: 'lab',
    autoscale: { min: 2, max: 8 },
    workers: {
      tape: {
        queues: [
          '{app_id}.q',
          { name: '{app_id}.tape', max: 1 },
          { name: 'big', min: 20 },
          '{app_id}.q.{host}',
          `lab.q.${hostname()}`,
        ],
      },
    },
  });
  expect(roleOf(config, {})).toEqual({ app: 'worker', queues: [{ queue: 'lab.q', min: 2, max: 8 }] });
  expect(roleOf(config, { app: 'tape' })).toEqual({
    app: 'tape',
    queues: [
      { queue: 'lab.q', min: 2, max: 8 },
      { queue: 'lab.tape', min: 1, max: 1 },
      { queue: 'big', min: 20, max: 20 },
      { queue: `lab.q.${hostname()}`, min: 2, max: 8 },
    ],
  });
  expect(roleOf(config, { app: 'tape', queue: 'other.q' }).queues).toEqual([
    { queue: 'other.q', min: 2, max: 8 },
  ]);
  for (const queue of ['a b', 'no:queue'])
    expect(() => roleOf(config, { queue })).toThrow(`without ":" and white space, got "${queue}"`);
  expect(() => roleOf(config, { app: 'tepa' })).toThrow(/"tepa" is not in config.workers \(worker, tape\)/);
});

test('a worker whose app is not configured does not start, and says what there is', async () => {
  const place = await makePlace();
  const worker = startWorker(place, 0, { LONGSHORE_WORKER: 'nobody' });
  expect(await worker.exited).toEqual({ code: 78, signal: null });
  expect(worker.log()).toContain('is not in config.workers (worker)');
});

/** Steps of one workflow, each with the queue it names. */
async function startRouted(fleet: Fleet, steps: Record<string, string | undefined>): Promise<string> {
  const definition = {
    name: 'routed',
    steps: Object.entries(steps).map(([name, queue]) => ({
      name,
      task: 'drill',
      queue,
      kwargs: { journal: fleet.journal },
    })),
  };
  const dataset_id = await fleet.dataset();
  return (await fleet.engine.start(definition, { initiator: 'test', dataset_id })).id;
}

test('each step runs where its queue is served: by the usual worker, by one for tape, by one of this host', async () => {
  const fleet = await makeFleet({
    workers: {
      tape: { queues: ['{app_id}.tape'] },
      local: { queues: ['{app_id}.q.{host}'] },
    },
  });
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  await fleet.worker({ LONGSHORE_WORKER: 'local' });
  const id = await startRouted(fleet, {
    one: undefined,
    two: '{app_id}.tape',
    three: '{app_id}.q.{host}',
    four: undefined,
  });
  const tape = steerer.side.queues.get('longshore-test.tape');
  await until(async () => (await tape.getJobCountByTypes('prioritized')) === 1, {
    what: 'the tape step to wait',
  });
  // Whoever restores the queue from the records has to look into the right one.
  expect((await fleet.engine.reconcile()).repaired).toEqual([]);
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['one']);
  await fleet.worker({ LONGSHORE_WORKER: 'tape' });
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps.map(({ last_task_run }) => last_task_run?.worker.split('@')[0])).toEqual([
    'longshore-test-worker',
    'longshore-test-tape',
    'longshore-test-local',
    'longshore-test-worker',
  ]);
  const served = (await steerer.workers()).map(({ queues }) => queues.map(({ queue }) => queue));
  expect(served).toHaveLength(3);
  expect(served).toContainEqual([`longshore-test.q.${hostname()}`]);
});

test('one worker serves several queues, and a full one holds no other back', async () => {
  const fleet = await makeFleet({
    workers: {
      worker: {
        queues: [
          { name: '{app_id}.q', min: 1, max: 1 },
          { name: 'fast', min: 2, max: 2 },
        ],
      },
    },
  });
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  const name = await steerer.only();
  const go = fleet.place.path('go');
  const ids = [];
  for (const queue of [undefined, undefined, 'fast', 'fast', 'fast']) {
    const step = {
      name: queue ?? 'usual',
      task: 'drill',
      queue,
      kwargs: { journal: fleet.journal, until_file: go },
    };
    const dataset_id = await fleet.dataset();
    ids.push(
      (await fleet.engine.start({ name: 'routed', steps: [step] }, { initiator: 'test', dataset_id })).id,
    );
  }
  await until(() => fleet.events('start').length === 3, { what: 'one and two at a time' });
  const [entry] = await until(async () => {
    const seen = await steerer.workers();
    return seen[0]?.running.length === 3 ? seen : null;
  });
  expect(entry?.queues).toMatchObject([
    { queue: 'longshore-test.q', slots: 1, busy: 1 },
    { queue: 'fast', slots: 2, busy: 2 },
  ]);
  expect((await steerer.tell(name, 'grow', { by: 1, queue: 'fast' })).result).toMatchObject({ slots: 3 });
  await until(() => fleet.events('start', 'fast').length === 3, { what: 'the third of the queue that grew' });
  expect(fleet.events('start', 'usual')).toHaveLength(1);
  writeFileSync(go, '');
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
});

test('two apps on one Redis see and run only their own', async () => {
  const one = await makeFleet({ app_id: 'lab-one' });
  const { prefix } = one.place.config.queue;
  const two = await makeFleet({ app_id: 'lab-two', queue: { prefix } });
  const steerers = [await makeSteerer(one), await makeSteerer(two)] as const;
  const waits = await one.start({ one: {} });
  await two.worker();
  await two.reaches(await two.start({ two: {} }), 'SUCCESS');
  await steerers[1].untilListed(1);
  expect(await steerers[0].workers()).toEqual([]);
  expect((await one.engine.show(waits)).status).toBe('PENDING');
  await one.worker();
  await one.reaches(waits, 'SUCCESS');
  expect((await steerers[0].workers())[0]?.name).toMatch(/^lab-one-worker@/);
  expect((await steerers[1].workers()).map(({ name }) => name)).toEqual([
    expect.stringMatching(/^lab-two-worker@/),
  ]);
});

import { expect, onTestFinished, test } from 'vitest';
import { type Random, randomOf } from '../../bench/chaos/random.ts';
import { coerceError } from '../../workers/errors.ts';
import { keepLocks } from '../../workers/fleet/health/lock-keeping.ts';
import { createProcessor } from '../../workers/fleet/job/processor.ts';
import { openSlots } from '../../workers/fleet/slots.ts';
import { createLogger } from '../../workers/log.ts';
import type { CancelOrder } from '../../workers/queue/control.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { openStore } from '../../workers/store.ts';
import { defaultQueue } from '../../workers/workflows/definition.ts';
import { createEngine, type Engine } from '../../workers/workflows/engine.ts';
import { makePlace, type Place } from '../support/place.ts';
import { until } from '../support/until.ts';
import { type BriefBodies, briefBodies } from './brief-bodies.ts';

const PEOPLE = 4;
const ACTS = 400;
const WORKFLOWS = 30;
const LOG = createLogger('people', {}, { level: 'fatal', to: 2 });
const SHAPE = {
  name: 'noop',
  steps: ['first', 'second', 'third'].map((name) => ({ name, task: 'noop' })),
};

/** Told with each run, so that one that failed can be tried again. */
const seed = Number(process.env.CHAOS_SEED) || Date.now() % 1_000_000;

test('people who stop, resume and delete whatever runs lose nothing, double nothing, and leave nothing behind', async () => {
  const random = randomOf(seed);
  const place = await makePlace({
    autoscale: { min: 4, max: 8 },
    workflow: { retry: { max: 3, delay_seconds: 0.05 }, resume_lock_seconds: 0.5, max_losses: 100 },
  });
  const bodies = briefBodies(random);
  const workers = [await worker(place, 'w1', bodies), await worker(place, 'w2', bodies)];
  const store = await openStore(place.config);
  const engine = await createEngine({ config: place.config, store, log: LOG });
  onTestFinished(async () => {
    await engine.close();
    await store.close();
  });

  const started: string[] = [];
  const deleted = new Set<string>();
  const start = async (): Promise<void> => {
    const options = { dataset_id: started.length + 1, initiator: 'ann', alongside: true };
    started.push((await engine.start(SHAPE, options)).id);
  };
  for (let at = 0; at < 10; at++) await start();
  const act = actOf(random, engine, { started, deleted, start });
  await Promise.all(
    Array.from({ length: PEOPLE }, async () => {
      for (let acts = 0; acts < ACTS; acts++) await act();
    }),
  );

  // In peace: what was stopped or has failed goes on, and all that nobody deleted comes to its end.
  await until(
    async () => {
      const all = await Promise.all(started.map((id) => engine.show(id).catch(() => null)));
      for (const one of all)
        if (one?.status === 'FAILURE' || one?.status === 'REVOKED')
          await engine.resume(one.id, { actor: 'ann' });
      return all.every((one) => one === null || one.status === 'SUCCESS');
    },
    { what: `all workflows of seed ${seed} to end` },
  );
  const told = `seed ${seed}`;
  expect(bodies.together, told).toEqual([]);
  for (const id of started) {
    const found = await store.records.workflowWithRuns(id, { prev_runs: true });
    expect(found === null, `${id} is deleted, ${told}`).toBe(deleted.has(id));
    const successes = found?.last_runs.map(
      (last, at) =>
        [...(found.prev_runs?.[at] ?? []), last].filter((run) => run?.status === 'SUCCESS').length,
    );
    if (found !== null) expect(successes, `${id}, ${told}`).toEqual([1, 1, 1]);
  }
  const { redis, queues } = workers[0]!.side;
  const queue = queues.get(defaultQueue(place.config));
  await until(async () => Object.values(await queue.getJobCounts()).every((count) => count === 0), {
    what: `the queue of seed ${seed} to be empty`,
  });
  expect(await redis.keys(`${place.config.queue.prefix}:*:enqueue:*`), told).toEqual([]);
});

/** All of a worker but its processes and its registration. */
async function worker({ config }: Place, name: string, bodies: BriefBodies) {
  const store = await openStore(config);
  const side = await openQueueSide(config, { log: LOG, wait_seconds: 10, name });
  const processor = createProcessor({ config, store, side, log: LOG, name, host: 'node-1' }, bodies);
  const slots = openSlots({ config, side, processor, log: LOG, name, queue: defaultQueue(config) });
  await side.control.listen(name, {
    cancel: async (args) => ({
      stopped: await processor.cancel({ ...args, worker: name } as unknown as CancelOrder),
    }),
  });
  const locks = keepLocks(side.redis, processor, LOG);
  slots.begin();
  onTestFinished(async () => {
    await slots.stopTaking();
    await slots.close();
    locks.stop();
    await side.close();
    await store.close();
  });
  return { side };
}

/** One act of a person, on any workflow and at any moment. */
function actOf(
  random: Random,
  engine: Engine,
  { started, deleted, start }: { started: string[]; deleted: Set<string>; start: () => Promise<void> },
): () => Promise<void> {
  const options = { actor: 'ann', grace_seconds: 1 };
  const acts: readonly ((id: string) => Promise<unknown>)[] = [
    async () => (started.length < WORKFLOWS ? start() : null),
    (id) => engine.pause(id, options),
    (id) => engine.pause(id, options),
    (id) => engine.revoke(id, options),
    (id) => engine.resume(id, { actor: 'ann' }),
    (id) => engine.resume(id, { actor: 'ann' }),
    (id) => engine.resume(id, { actor: 'ann', force: true }),
    (id) => engine.prioritize(id, { actor: 'ann', priority: random.below(10) }),
    (id) => engine.enqueue(id),
    () => engine.reconcile(),
    async (id) => {
      if (random.next() > 0.05) return;
      deleted.add(id);
      await engine.delete(id, options);
    },
  ];
  return async () => {
    const id = random.pick(started) ?? '';
    try {
      await random.pick(acts)?.(id);
    } catch (error) {
      // Somebody else deleted it.
      if (coerceError(error).code !== 'E_WORKFLOW_NOT_FOUND') throw error;
    }
  };
}

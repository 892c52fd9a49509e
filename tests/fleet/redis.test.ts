import { writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

/** A Redis of the test's own, which it may stop, where the place's processes look for the embedded one. */
const own = { queue: { url: null, lock_seconds: 1, stalled_check_seconds: 0.5 } };

async function ownRedis(folder: string): Promise<EmbeddedRedis> {
  const redis = await startEmbeddedRedis(folder);
  onTestFinished(() => redis.stop());
  return redis;
}

test('a worker that is started before Redis waits for it, says so, and begins to work by itself', async () => {
  const fleet = await makeFleet(own);
  const starting = fleet.worker();
  await until(() => fleet.workerLog(0).includes('waiting for the embedded Redis'), { what: 'the line' });
  await ownRedis(fleet.place.path('redis'));
  await starting;
  await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
});

test('a Redis that is away for longer than every lock lasts does not end a running task, and nothing crashes', async () => {
  const fleet = await makeFleet(own);
  const folder = fleet.place.path('redis');
  const first = await ownRedis(folder);
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go, publish: fleet.place.path('one') }, two: {} });
  await until(() => fleet.events('start')[0]);
  await first.stop();
  await until(() => worker.log().includes('Redis does not answer'), { what: 'the worker to notice' });
  const noticed = Date.now();
  await until(() => Date.now() > noticed + 2500, { what: 'more than two lock times' });
  await ownRedis(folder);
  await until(() => worker.log().includes('Redis answers again'), { what: 'the worker to be back' });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map((entry) => entry.step)).toEqual(['one', 'two']);
  const complaints = worker
    .log()
    .split('\n')
    .filter((line) => line.includes('Redis does not answer'));
  expect(complaints.length).toBeLessThanOrEqual(3);
});

test('a task that ends while Redis is away is not run again when it is back', async () => {
  const fleet = await makeFleet(own);
  const folder = fleet.place.path('redis');
  const first = await ownRedis(folder);
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go }, two: {} });
  await until(() => fleet.events('start')[0]);
  await first.stop();
  writeFileSync(go, '');
  await until(async () => (await fleet.engine.show(id)).steps[0]?.status === 'SUCCESS', {
    what: 'the record',
  });
  await ownRedis(folder);
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map((entry) => entry.step)).toEqual(['one', 'two']);
});

test('when Redis loses everything, waiting, delayed and resumed workflows go on from the records', async () => {
  const fleet = await makeFleet(own);
  const redis = await ownRedis(fleet.place.path('redis'));
  const gate = fleet.place.path('gate');
  const done = await fleet.start({
    one: {},
    two: { postpone_until_file: gate, postpone_ms: 60_000 },
    three: {},
  });
  const resumed = await fleet.start({ four: {} });
  await fleet.engine.pause(resumed, { actor: 'test' });
  const paused = await fleet.start({ five: {} });
  await fleet.engine.pause(paused, { actor: 'test' });
  await fleet.worker();
  await until(() => fleet.events('start', 'two')[0]);
  await fleet.engine.resume(resumed, { actor: 'test' });
  const client = new Redis(redis.url);
  await client.flushall();
  client.disconnect();
  writeFileSync(gate, '');
  await fleet.reaches(done, 'SUCCESS');
  await fleet.reaches(resumed, 'SUCCESS');
  expect(
    fleet
      .events('start')
      .map((entry) => entry.step)
      .filter((step) => step !== 'four'),
  ).toEqual(['one', 'two', 'two', 'three']);
  expect((await fleet.engine.show(paused)).status).toBe('REVOKED');
  expect(fleet.events('start', 'five')).toEqual([]);
});

test('a workflow that was recorded but never queued is found and run', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const { buildWorkflow } = await import('../../workers/workflows/definition.ts');
  const document = buildWorkflow(
    fleet.place.config,
    { name: 'lost', steps: [{ name: 'one', task: 'drill', kwargs: { journal: fleet.journal } }] },
    { dataset_id: await fleet.dataset(), initiator: 'test' },
  );
  await fleet.store.records.createWorkflow(document);
  await fleet.reaches(document.id, 'SUCCESS');
  expect(fleet.events('start')).toHaveLength(1);
});

test('reconciling repairs once and then finds nothing, however often and by however many at once', async () => {
  const fleet = await makeFleet();
  const ids = [];
  for (let index = 0; index < 5; index += 1) ids.push(await fleet.start({ one: {}, two: {} }));
  expect(await fleet.engine.reconcile()).toEqual({ looked_at: 5, repaired: [] });
  const client = new Redis(fleet.place.config.queue.url ?? '');
  onTestFinished(() => client.disconnect());
  const keys = await client.keys(`${fleet.place.config.queue.prefix}:*`);
  await client.del(...keys);
  const reports = await Promise.all([1, 2, 3].map(() => fleet.engine.reconcile()));
  expect(new Set(reports.flatMap((report) => report.repaired))).toEqual(new Set(ids));
  expect((await fleet.engine.reconcile()).repaired).toEqual([]);
  expect((await fleet.engine.fleet()).jobs).toMatchObject({ prioritized: 5 });
  await fleet.worker();
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start')).toHaveLength(10);
});

import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { expect, onTestFinished, test, vi } from 'vitest';
import { watchNeighbours } from '../../workers/fleet/health/neighbours.ts';
import type { Slots } from '../../workers/fleet/slots.ts';
import { createLogger } from '../../workers/log.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { makeFleet } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

/** A queue whose jobs are taken by hand, beside a worker `living` that watches over who else holds some. */
async function makeNeighbourhood(level: 'fatal' | 'silent') {
  const { config } = await makePlace({ queue: { lock_seconds: 600 } });
  const log = createLogger('test', {}, { level });
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const queue = side.queues.get('neighbours.q');
  const worker = new Worker('neighbours.q', null, { connection: side.redis, prefix: config.queue.prefix });
  onTestFinished(() => worker.close());
  const watch = async (): Promise<void> => {
    const slots = [{ holder: 'living', queue: queue.name }] as unknown as Slots[];
    const watching = await watchNeighbours({ config, side, slots, log });
    onTestFinished(() => watching.stop());
  };
  const holdersKey = async (): Promise<string> =>
    (await side.redis.keys(`${config.queue.prefix}:*:holders:*`))[0] ?? '';
  return { side, queue, worker, watch, holdersKey };
}

test('jobs of a worker that died are run by its neighbours at once, long before their locks run out', async () => {
  const fleet = await makeFleet({ queue: { lock_seconds: 600, stalled_check_seconds: 300 } });
  const first = await fleet.worker();
  const go = fleet.place.path('go');
  const ids = [
    await fleet.start({ one: { until_file: go } }),
    await fleet.start({ one: { until_file: go } }),
  ];
  await until(() => fleet.events('start').length === 2);
  const second = await fleet.worker();
  first.kill('SIGKILL');
  await until(() => fleet.events('start').length === 4, { ms: 30_000, what: 'both to run again' });
  expect(second.log()).toContain('a worker of this machine died; its jobs run again');
  writeFileSync(go, '');
  for (const id of ids) {
    const { steps } = await fleet.reaches(id, 'SUCCESS');
    expect(steps[0]?.last_task_run).toMatchObject({ retries: 0, losses: 1 });
  }
});

test('of the jobs at work only those of the dead worker are given back, also when its number belongs to another process now', async () => {
  const { side, queue, worker, watch, holdersKey } = await makeNeighbourhood('fatal');
  for (const index of [0, 1]) await queue.add('gate', { workflow_id: 'w', index }, { jobId: `w.${index}` });
  await worker.getNextJob('living:1');
  await worker.getNextJob('dead:1');
  await watch();
  const holders = await holdersKey();
  const dead = { pid: process.pid, start: '1', queue: queue.name };
  await side.redis.hset(holders, 'dead', JSON.stringify(dead));
  await until(async () => (await side.redis.hexists(holders, 'dead')) === 0, { what: 'a look at the dead' });
  expect([await queue.getJobState('w.0'), await queue.getJobState('w.1')]).toEqual(['active', 'waiting']);
  expect(Object.keys(await side.redis.hgetall(holders))).toEqual(['living']);
  await queue.obliterate({ force: true });
});

test('a dead worker is remembered until its jobs were given back, though the queue takes nothing at first', async () => {
  const { side, queue, worker, watch, holdersKey } = await makeNeighbourhood('silent');
  await queue.add('gate', { workflow_id: 'w', index: 0 }, { jobId: 'w.0' });
  await worker.getNextJob('dead:1');
  const getJob = queue.getJob.bind(queue);
  let refused = 0;
  const refusing = vi.spyOn(queue, 'getJob').mockImplementation(async (id) => {
    const job = await getJob(id);
    if (job !== undefined && refused < 2)
      job.moveToWait = async () => {
        refused += 1;
        throw new Error('LOADING Redis is loading the dataset in memory');
      };
    return job;
  });
  onTestFinished(() => refusing.mockRestore());
  await watch();
  const holders = await holdersKey();
  await side.redis.hset(holders, 'dead', JSON.stringify({ pid: process.pid, start: '1', queue: queue.name }));
  await until(async () => (await side.redis.hexists(holders, 'dead')) === 0, { what: 'its end' });
  expect([refused, await queue.getJobState('w.0')]).toEqual([2, 'waiting']);
  // A Redis that has lost everything is told anew who is there: else nobody would know whose locks were this one's.
  await side.redis.del(holders);
  await until(async () => (await side.redis.hexists(holders, 'living')) === 1, {
    what: 'it to say so again',
  });
  await queue.obliterate({ force: true });
});

test('a neighbour that merely stands still keeps its job until its lock has run out', async () => {
  const fleet = await makeFleet({ queue: { lock_seconds: 600, stalled_check_seconds: 300 } });
  const first = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  await until(() => fleet.events('start')[0]);
  const second = await fleet.worker();
  first.kill('SIGSTOP');
  // One that dies is found by the same looks, so that it is certain that there were some.
  const third = await fleet.worker();
  third.kill('SIGKILL');
  await third.exited;
  await fleet.reaches(await fleet.start({ other: {} }), 'SUCCESS');
  await fleet.reaches(await fleet.start({ another: {} }), 'SUCCESS');
  expect(second.log()).not.toContain('a worker of this machine died');
  first.kill('SIGCONT');
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start', 'one')).toHaveLength(1);
});

test('a job whose worker cannot tell is given on although Redis is restarted more often than locks last', async () => {
  const fleet = await makeFleet({
    queue: { url: null, lock_seconds: 12, stalled_check_seconds: 1 },
  });
  const folder = fleet.place.path('redis');
  let redis = await startEmbeddedRedis(folder);
  onTestFinished(() => redis.stop());
  const first = await fleet.worker();
  onTestFinished(() => first.kill('SIGCONT'));
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  await until(() => fleet.events('start')[0]);
  await fleet.worker();
  // Alive for its neighbours, and dead for the queue.
  first.kill('SIGSTOP');
  const over = new AbortController();
  const restarting = (async () => {
    while (!over.signal.aborted) {
      await sleep(9_000); // How often Redis is restarted is what is tested.
      process.kill(redis.pid, 'SIGKILL');
      await redis.exited;
      redis = await startEmbeddedRedis(folder);
    }
  })();
  await until(() => fleet.events('start').length === 2, { ms: 90_000, what: 'the job to run again' });
  over.abort();
  await restarting;
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
});

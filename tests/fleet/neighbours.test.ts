import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

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

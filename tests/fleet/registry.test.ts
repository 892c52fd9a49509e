import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { forgetSeats } from '../../workers/fleet/control/seat.ts';
import { startOf } from '../../workers/process-start.ts';
import type { Registry } from '../../workers/queue/registry.ts';
import { readRelease } from '../../workers/fleet/code/release.ts';
import { makeFleet } from '../support/fleet.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

test('each worker is listed with what it is, what it may do and what it does, with progress', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  const worker = await fleet.worker();
  const id = await fleet.start({ one: { until_file: fleet.place.path('never'), chatter: true } });
  await until(async () => (await steerer.workers())[0]?.running[0]?.progress, { what: 'its progress' });
  const [entry] = await steerer.workers();
  expect(entry).toMatchObject({
    name: `longshore-test-worker@${hostname()}:${worker.pid}`,
    host: hostname(),
    pid: worker.pid,
    release: readRelease(),
    state: 'working',
    queues: [{ queue: 'longshore-test.q', slots: 2, min: 2, max: 4, busy: 1 }],
    load: [expect.any(Number), expect.any(Number), expect.any(Number)],
  });
  expect(entry?.rss).toBeGreaterThan(10_000_000);
  expect(Date.parse(entry?.started_at ?? '')).toBeLessThan(Date.now());
  expect(Date.parse(entry?.queues[0]?.consumed_at ?? '')).toBeLessThanOrEqual(Date.now());
  expect(entry?.running).toEqual([
    {
      task_id: fleet.events('start')[0]?.task_id,
      attempt: 1,
      workflow_id: id,
      workflow: 'drill',
      index: 0,
      step: 'one',
      task: 'drill',
      dataset_id: 1,
      queue: 'longshore-test.q',
      since: expect.stringMatching(/^\d{4}-.*Z$/),
      progress: expect.objectContaining({ name: 'drill', units: 'bytes' }),
    },
  ]);
  await fleet.engine.revoke(id, { actor: 'test' });
});

test('a worker that leaves is gone from the list at once, one that is killed or stopped soon; it comes back by itself', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  const [one, two, three] = [await fleet.worker(), await fleet.worker(), await fleet.worker()];
  await steerer.untilListed(3);
  one.kill('SIGTERM');
  await one.exited;
  expect(new Set((await steerer.workers()).map(({ pid }) => pid))).toEqual(new Set([two.pid, three.pid]));
  two.kill('SIGKILL');
  three.kill('SIGSTOP');
  await steerer.untilListed(0);
  expect(await steerer.side.redis.exists(`${fleet.place.config.queue.prefix}:longshore-test:workers`)).toBe(
    0,
  );
  three.kill('SIGCONT');
  expect((await steerer.untilListed(1))[0]?.pid).toBe(three.pid);
});

test('a release is told by its code: a changed file is another one', () => {
  const { version, commit, code } = readRelease();
  expect(version).toMatch(/^\d+\.\d+\.\d+/);
  expect(commit === null || /^[0-9a-f]{10}$/.test(commit)).toBe(true);
  expect(code).toMatch(/^[0-9a-f]{10}$/);
});

test('of drained workers without pm2 those are forgotten that have ended, also when another process has their number', async () => {
  const living = `w@h:${process.pid}.${startOf(process.pid)}`;
  const others = ['w@h#0', 'w@elsewhere:1.1', 'w2@h:1.1'];
  const drained = new Set([living, `w@h:${process.pid}.1`, ...others]);
  const registry = {
    drainedWorkers: async () => [...drained],
    setWorkerDrained: async (seat: string) => void drained.delete(seat),
  };
  await forgetSeats(registry as unknown as Registry, 'w', 'h');
  expect([...drained]).toEqual([living, ...others]);
});

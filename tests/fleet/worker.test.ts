import { writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { makeFleet, startWorker } from '../support/fleet.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

test('a worker told to leave takes no new job and lets a short one end', async () => {
  const fleet = await makeFleet();
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go }, two: {} });
  await until(() => fleet.events('start')[0]);
  worker.kill('SIGTERM');
  await until(() => worker.log().includes('takes no more jobs'));
  writeFileSync(go, '');
  expect(await worker.exited).toEqual({ code: 0, signal: null });
  const left = await fleet.engine.show(id);
  expect(left.steps.map((step) => step.status)).toEqual(['SUCCESS', 'PENDING']);
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map((entry) => entry.step)).toEqual(['one', 'two']);
});

test('a worker that is shut down takes no job again, though an order to take some comes meanwhile', async () => {
  const fleet = await makeFleet({ autoscale: { min: 2, max: 2 } });
  const worker = await fleet.worker();
  const steerer = await makeSteerer(fleet);
  const name = await steerer.only();
  const go = fleet.place.path('go');
  await fleet.start({ one: { deaf_until_file: go } });
  await until(() => fleet.events('start')[0]);
  worker.kill('SIGTERM');
  await until(() => worker.log().includes('takes no more jobs'));
  expect(await steerer.tell(name, 'undrain')).toMatchObject({
    outcome: 'failed',
    error: { message: expect.stringContaining('is leaving') },
  });
  const id = await fleet.start({ two: {} });
  expect((await worker.exited).code).toBe(0);
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['one']);
  expect((await fleet.engine.show(id)).steps[0]?.status).toBe('PENDING');
});

test('a long job is handed back within the time that pm2 grants: no process left, no loss, no retry counted', async () => {
  // With a lock of ten minutes only a job that was handed back can go on while this test waits.
  const fleet = await makeFleet({ queue: { lock_seconds: 600 } });
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { deaf_until_file: go, grandchild: true } });
  const { pid } = await until(() => fleet.events('grandchild')[0]);
  const asked = Date.now();
  worker.kill('SIGTERM');
  expect((await worker.exited).code).toBe(0);
  expect(Date.now() - asked).toBeLessThan(9_500);
  expect(membersOf(pid)).toEqual([]);
  await fleet.worker();
  await until(() => fleet.events('start').length === 2, { what: 'the job to go on at once' });
  writeFileSync(go, '');
  const done = await fleet.reaches(id, 'SUCCESS');
  const run = done.steps[0]?.last_task_run;
  expect(run).toMatchObject({ losses: 0, retries: 0 });
  const [first] = await fleet.store.records.attempts(run?._id ?? '');
  expect(first).toMatchObject({ outcome: 'postponed', reason: expect.stringContaining('shut down') });
});

test('a shutdown that Redis keeps from its end is over in time, its tasks are ended, and the log names the jobs that were not handed back', async () => {
  const fleet = await makeFleet({ queue: { url: null } });
  const redis = await startEmbeddedRedis(fleet.place.path('redis'));
  onTestFinished(() => redis.stop());
  const worker = await fleet.worker();
  const id = await fleet.start({ one: { deaf_until_file: fleet.place.path('go'), grandchild: true } });
  const { pid } = await until(() => fleet.events('grandchild')[0]);
  onTestFinished(() => void process.kill(redis.pid, 'SIGCONT'));
  process.kill(redis.pid, 'SIGSTOP');
  const asked = Date.now();
  worker.kill('SIGTERM');
  expect(await worker.exited).toEqual({ code: 1, signal: null });
  expect(Date.now() - asked).toBeLessThan(10_000);
  expect(membersOf(pid)).toEqual([]);
  const line =
    worker
      .log()
      .split('\n')
      .find((text) => text.includes('the shutdown was cut off')) ?? '';
  expect(JSON.parse(line)).toMatchObject({
    why: 'not done after 9.5 s',
    jobs: [
      {
        workflow_id: id,
        job_id: expect.stringContaining(id),
        queue: 'longshore-test.q',
        pgid: null,
        pids: [],
      },
    ],
  });
});

test('a worker that is asked twice to leave names the jobs and processes that it leaves behind', async () => {
  const fleet = await makeFleet();
  const worker = await fleet.worker();
  const id = await fleet.start({ one: { deaf_until_file: fleet.place.path('go') } });
  const { pid } = await until(() => fleet.events('start')[0]);
  worker.kill('SIGTERM');
  await until(() => worker.log().includes('takes no more jobs'));
  worker.kill('SIGTERM');
  expect(await worker.exited).toEqual({ code: 1, signal: null });
  const line =
    worker
      .log()
      .split('\n')
      .find((text) => text.includes('the shutdown was cut off')) ?? '';
  expect(JSON.parse(line)).toMatchObject({
    why: 'it was asked twice',
    jobs: [{ workflow_id: id, pgid: pid, pids: [pid] }],
  });
  await until(() => membersOf(pid).length === 0, { what: 'the task to end itself' });
});

test('a worker grows to its maximum while its long jobs run, shrinks when idle, and logs both with the reason', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 3, idle_seconds: 0.5 } });
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const ids = [];
  for (const name of ['a', 'b', 'c', 'd']) ids.push(await fleet.start({ [name]: { until_file: go } }));
  await until(() => fleet.events('start').length === 3, { what: 'three at a time' });
  const { jobs } = await fleet.engine.fleet();
  expect(jobs).toMatchObject({ active: 3, prioritized: 1 });
  writeFileSync(go, '');
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  // By one slot and then another where a look falls between the ends of the last jobs.
  await until(() => /"to":1,"reason":"[^"]*in use[^"]*"/.test(worker.log()), {
    what: 'the worker to shrink',
  });
  expect(worker.log()).toMatch(/"from":1,"to":3,"reason":"[^"]*wait[^"]*"/);
});

test('two workers share the work, and each is listed', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 } });
  await fleet.worker();
  await fleet.worker();
  const go = fleet.place.path('go');
  const ids = [await fleet.start({ a: { until_file: go } }), await fleet.start({ b: { until_file: go } })];
  await until(() => fleet.events('start').length === 2, { what: 'both at work' });
  const { workers } = await fleet.engine.fleet();
  expect(new Set(workers.map((worker) => worker.name)).size).toBe(2);
  writeFileSync(go, '');
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  const runs = await Promise.all(ids.map((id) => fleet.engine.show(id)));
  expect(new Set(runs.map((workflow) => workflow.steps[0]?.last_task_run?.worker)).size).toBe(2);
});

test('a worker that pm2 waits for says when it is ready', async () => {
  const fleet = await makeFleet();
  const worker = await fleet.worker();
  // Its line in the log and its message cross.
  await until(() => worker.messages.includes('ready'), { what: 'the message' });
});

test('a worker of an older release fails no job once the catalog is newer, and is not started again', async () => {
  const fleet = await makeFleet();
  const worker = await fleet.worker();
  const file = new DatabaseSync(fleet.place.config.catalog.path, { timeout: 5_000 });
  onTestFinished(() => file.close());
  file.exec('pragma user_version = 99');
  const id = await fleet.start({ one: {} });
  const run = await until(async () => (await fleet.engine.show(id)).steps[0]?.last_task_run, {
    what: 'the step to be taken',
  });
  const [first] = await until(
    async () => {
      const attempts = await fleet.store.records.attempts(run._id);
      return attempts[0]?.outcome == null ? null : attempts;
    },
    { what: 'its attempt to end' },
  );
  expect(first).toMatchObject({ outcome: 'postponed', reason: expect.stringContaining('version 99') });
  expect(await fleet.engine.show(id)).toMatchObject({ status: 'STARTED' });
  worker.kill('SIGTERM');
  await worker.exited;
  const again = startWorker(fleet.place, 9, {});
  expect(await again.exited).toEqual({ code: 78, signal: null });
  expect(again.log()).toContain('E_OUTDATED');
});

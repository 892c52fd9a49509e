import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import { CRASH_POINTS } from '../../workers/fleet/job/crash-points.ts';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const quick = { queue: { lock_seconds: 1, stalled_check_seconds: 0.5 } };

async function lastRun(fleet: Fleet, id: string, index: number) {
  const { steps } = await fleet.engine.show(id);
  return steps[index]?.last_task_run ?? null;
}

test.each(CRASH_POINTS)(
  'a worker that dies at "%s" of each step loses and doubles no step',
  async (point) => {
    const fleet = await makeFleet({ ...quick, workflow: { max_losses: 3 } });
    const names = ['one', 'two', 'three'];
    const id = await fleet.start(
      Object.fromEntries(names.map((name) => [name, { publish: fleet.place.path(name) }])),
    );
    // Each of these dies at the point in the first step it comes to; the last worker brings the rest to its end.
    for (let deaths = 0; deaths < names.length; deaths += 1) {
      const doomed = await fleet.worker({ LONGSHORE_CRASH_AT: point });
      expect((await doomed.exited).signal).toBe('SIGKILL');
    }
    await fleet.worker();
    const done = await fleet.reaches(id, 'SUCCESS');
    expect(done.steps.map((step) => step.status)).toEqual(['SUCCESS', 'SUCCESS', 'SUCCESS']);
    const document = await fleet.store.records.workflow(id);
    expect(document?.steps.map((step) => step.task_runs.length)).toEqual([1, 1, 1]);
    const order = fleet.events('end').map((entry) => entry.step);
    expect([...new Set(order)]).toEqual(names);
    if (point === 'after-finish' || point === 'before-complete') expect(order).toEqual(names);
    await until(async () => Object.values((await fleet.engine.fleet()).jobs).every((count) => count === 0), {
      what: 'an empty queue',
    });
  },
);

const drill = (name: string) => ({ name, task: 'drill' });
const followed = {
  ...quick,
  workflow_registry: {
    first: { steps: [drill('one')], then: ['second'] },
    second: { steps: [{ ...drill('two'), kwargs: { journal: '/dev/null' } }] },
  },
};

test('what follows is started although the worker dies after the last step and the queue forgets everything', async () => {
  const fleet = await makeFleet(followed);
  const start = { initiator: 'test', start_kwargs: { journal: fleet.journal } };
  const { id } = await fleet.engine.start('first', { dataset_id: await fleet.dataset(), ...start });
  const doomed = await fleet.worker({ LONGSHORE_CRASH_AT: 'after-finish' });
  await doomed.exited;
  const redis = new Redis(inject('redis'));
  const keys = await redis.keys(`${fleet.place.config.queue.prefix}:*`);
  expect(keys.length).toBeGreaterThan(0);
  await redis.del(...keys);
  redis.disconnect();
  await fleet.worker();
  await until(async () => (await fleet.engine.counts()).SUCCESS === 2, { what: 'the follower' });
  expect((await fleet.engine.show(id)).status).toBe('SUCCESS');
});

test('a worker that dies between the last step and what follows starts the follower once', async () => {
  const fleet = await makeFleet(followed);
  const start = { initiator: 'test', start_kwargs: { journal: fleet.journal } };
  const { id } = await fleet.engine.start('first', { dataset_id: await fleet.dataset(), ...start });
  for (const point of ['after-finish', 'before-complete']) {
    const doomed = await fleet.worker({ LONGSHORE_CRASH_AT: point });
    await doomed.exited;
  }
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  await until(async () => (await fleet.engine.counts()).SUCCESS === 2, { what: 'the follower' });
  expect((await fleet.engine.list({ name: 'second' })).metadata.total).toBe(1);
});

test('who finds a success that was recorded hands over at once: no reconciliation is needed', async () => {
  // One comes at the start of the first worker; the next one is not lived to see.
  const fleet = await makeFleet({ ...followed, workflow: { reconcile_seconds: 3600 } });
  const start = { initiator: 'test', start_kwargs: { journal: fleet.journal } };
  const { id } = await fleet.engine.start('first', { dataset_id: await fleet.dataset(), ...start });
  expect((await (await fleet.worker({ LONGSHORE_CRASH_AT: 'after-finish' })).exited).signal).toBe('SIGKILL');
  const two = await fleet.start({ a: {}, b: {} });
  expect((await (await fleet.worker({ LONGSHORE_CRASH_AT: 'after-finish' })).exited).signal).toBe('SIGKILL');
  await fleet.worker();
  await fleet.reaches(two, 'SUCCESS');
  await until(async () => (await fleet.engine.counts()).SUCCESS === 3, { what: 'the follower' });
  expect((await fleet.engine.show(id)).status).toBe('SUCCESS');
});

test('a worker killed during a step takes its task with it, and another one runs the step again under the same task id', async () => {
  const fleet = await makeFleet(quick);
  const first = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go, grandchild: true }, two: {} });
  const { pid } = await until(() => fleet.events('grandchild')[0]);
  first.kill('SIGKILL');
  await until(() => membersOf(pid).length === 0, { what: 'the process group of the task to be gone' });
  await fleet.worker();
  await until(() => fleet.events('start', 'one').length === 2, { what: 'the second run' });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  const [before, after] = fleet.events('start', 'one');
  expect(after?.task_id).toBe(before?.task_id);
  expect(await lastRun(fleet, id, 0)).toMatchObject({ status: 'SUCCESS', losses: 1, retries: 0 });
  const attempts = await fleet.store.records.attempts(before?.task_id ?? '');
  expect(attempts.map((attempt) => attempt.outcome)).toEqual(['lost', 'success']);
});

test('a task process that is killed is run again soon, and spends no retry', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  const { pid } = await until(() => fleet.events('start')[0]);
  process.kill(pid, 'SIGKILL');
  await until(() => fleet.events('start').length === 2, { what: 'the second run' });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  const run = await lastRun(fleet, id, 0);
  expect(run).toMatchObject({ losses: 1, retries: 0 });
  const [lost] = await fleet.store.records.attempts(run?._id ?? '');
  expect(lost).toMatchObject({ outcome: 'lost', reason: expect.stringContaining('SIGKILL') });
});

test('a job that kills its process again and again is set aside with a reason, and others go on', async () => {
  const fleet = await makeFleet({ workflow: { max_losses: 2 } });
  await fleet.worker();
  const id = await fleet.start({ one: { die: true }, two: {} });
  const failed = await fleet.reaches(id, 'FAILURE');
  expect(fleet.events('start', 'one')).toHaveLength(3);
  expect(failed.steps[0]?.last_task_run).toMatchObject({
    losses: 3,
    result: { code: 'E_WORKER_LOST', hint: expect.stringContaining('resume') },
  });
  await fleet.reaches(await fleet.start({ three: {} }), 'SUCCESS');
});

test('a job that kills its worker again and again is set aside, and the long one beside it comes to its end', async () => {
  const fleet = await makeFleet(quick);
  const guilty = await fleet.start({ bad: { takes_ms: 1_000, kills_worker: true } });
  const innocent = await fleet.start({ long: { takes_ms: 4_000 } });
  const isSetAside = fleet.reaches(guilty, 'FAILURE').then(() => true);
  // As pm2 would.
  while (!(await Promise.race([isSetAside, (await fleet.worker()).exited.then(() => false)])));
  const done = await fleet.reaches(innocent, 'SUCCESS');
  const [run] = done.steps.map(({ last_task_run }) => last_task_run);
  expect(run).toMatchObject({ retries: 0 });
  const attempts = await fleet.store.records.attempts(run?._id ?? '');
  expect(attempts.at(-1)?.outcome).toBe('success');
  expect(await lastRun(fleet, guilty, 0)).toMatchObject({ result: { code: 'E_WORKER_LOST' } });
});

test('whoever is named for alarms gets a mail with the evidence of a job that was set aside', async () => {
  const sendmail_path = join(import.meta.dirname, '../fixtures/bin/sendmail');
  const fleet = await makeFleet({
    workflow: { max_losses: 1 },
    email: { alarm_to: ['ops@example.org'], sendmail_path },
  });
  const mail = fleet.place.path('mail');
  await fleet.worker({ STUB_MAIL: mail });
  const id = await fleet.start({ one: { die: true } });
  await fleet.reaches(id, 'FAILURE');
  await until(() => existsSync(`${mail}.message`), { what: 'the mail' });
  const message = readFileSync(`${mail}.message`, 'utf8');
  expect(message).toMatch(/^Subject: \[longshore-test\] set aside: step "one" of dataset 1$/m);
  const text = Buffer.from(message.split('\n\n')[1] ?? '', 'base64').toString();
  expect(text).toContain(`drill of workflow ${id} (drill) lost its process 2 times.`);
  expect(text.match(/^attempt \d: .*lost/gm)).toHaveLength(2);
  expect(text).toContain(`longshore resume ${id}`);
});

test('a task process that somebody kills is not taken for one that brings itself down', async () => {
  const fleet = await makeFleet({ workflow: { max_losses: 1 } });
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  for (const kill of [1, 2]) {
    const started = await until(() => fleet.events('start')[kill - 1], { what: `start ${kill}` });
    process.kill(started.pid, 'SIGKILL');
  }
  await until(() => fleet.events('start').length === 3, { what: 'the third run' });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  expect(await lastRun(fleet, id, 0)).toMatchObject({ losses: 2, retries: 0 });
});

test('a worker that sleeps beyond its lease may not publish when it wakes: the new owner has, once', async () => {
  const fleet = await makeFleet(quick);
  const sleeper = await fleet.worker();
  const go = fleet.place.path('go');
  const published = fleet.place.path('published');
  const id = await fleet.start({ one: { until_file: go, publish: published } });
  const { pid } = await until(() => fleet.events('start')[0]);
  sleeper.kill('SIGSTOP');
  process.kill(-pid, 'SIGSTOP');
  await fleet.worker();
  // The new owner ends the sleeping group before it begins: it is of this host and carries the task's id.
  await until(() => fleet.events('start').length === 2, { what: 'the new owner' });
  expect(membersOf(pid)).toEqual([]);
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  sleeper.kill('SIGCONT');
  await until(() => /could not renew|lock|overtaken|put back/.test(sleeper.log()), {
    what: 'the sleeper to notice',
  });
  await fleet.reaches(await fleet.start({ two: {} }), 'SUCCESS');
  expect(readFileSync(published, 'utf8').trim().split('\n')).toHaveLength(1);
  expect(await lastRun(fleet, id, 0)).toMatchObject({ status: 'SUCCESS', losses: 1 });
});

test('a task that outlives the lease on another host is refused by its own worker when it asks to publish', async () => {
  const fleet = await makeFleet(quick);
  const sleeper = await fleet.worker();
  const go = fleet.place.path('go');
  const published = fleet.place.path('published');
  const id = await fleet.start({ one: { deaf_until_file: go, publish: published } });
  const { pid, task_id = '' } = await until(() => fleet.events('start')[0]);
  // Only the worker sleeps; its task goes on. What another host would do is done here, without ending that task.
  sleeper.kill('SIGSTOP');
  const claim = { workflow_id: id, index: 0, worker: 'elsewhere', host: 'another-host' };
  const verdict = await fleet.store.records.claim(claim, { max_losses: 3 });
  expect(verdict).toMatchObject({ verdict: 'run', key: { task_id, number: 2 } });
  writeFileSync(go, '');
  sleeper.kill('SIGCONT');
  await until(() => membersOf(pid).length === 0, { what: 'the task to end' });
  expect(existsSync(published)).toBe(false);
  expect(fleet.events('publish')).toEqual([]);
});

test('what a lost worker left on this host is ended only when it really is ours', async () => {
  const { endOrphan } = await import('../../workers/fleet/isolation/process-group.ts');
  const { spawn } = await import('node:child_process');
  const { hostname } = await import('node:os');
  const stranger = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  const ours = spawn('sleep', ['60'], {
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, LONGSHORE_TASK_ID: 'task-1' },
  });
  const orphan = (pgid: number, host = hostname()) =>
    ({ task_id: 'task-1', number: 1, worker: 'w', host, pgid }) as Parameters<typeof endOrphan>[0];
  try {
    expect(await endOrphan(orphan(stranger.pid ?? 0))).toEqual([]);
    expect(await endOrphan(orphan(ours.pid ?? 0, 'another-host'))).toEqual([]);
    expect(membersOf(ours.pid ?? 0)).toHaveLength(1);
    expect(await endOrphan(orphan(ours.pid ?? 0))).toEqual([ours.pid]);
    expect(membersOf(ours.pid ?? 0)).toEqual([]);
    expect(membersOf(stranger.pid ?? 0)).toHaveLength(1);
  } finally {
    stranger.kill('SIGKILL');
    ours.kill('SIGKILL');
  }
});

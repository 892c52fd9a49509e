import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { runScript, startScript } from '../support/script.ts';
import { onTerminal } from '../support/terminal.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

const longshore = async (fleet: Fleet, ...args: string[]) => {
  const result = await runScript('longshore.ts', args, fleet.place.env);
  return { ...result, json: () => JSON.parse(result.stdout) };
};

test('longshore fleet, ping and active show workers, slots, release, load, queues and jobs with progress', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  const workers = [await fleet.worker(), await fleet.worker()];
  const id = await fleet.start({ one: { until_file: fleet.place.path('never'), chatter: true } });
  await until(async () => (await steerer.workers()).some((one) => one.running[0]?.progress));
  const { json } = await longshore(fleet, 'fleet', '--json');
  const report = json();
  expect(new Set(report.workers.map((one: { pid: number }) => one.pid))).toEqual(
    new Set(workers.map(({ pid }) => pid)),
  );
  expect(report.queues).toEqual([
    expect.objectContaining({ name: 'longshore-test.q', paused: false, served_by: 2 }),
  ]);
  const shown = await longshore(fleet, 'fleet');
  expect(shown.code).toBe(0);
  expect(shown.stdout).toContain('2 workers on 1 host\n');
  for (const { pid } of workers) expect(shown.stdout).toContain(`${hostname()}:${pid}`);
  expect(shown.stdout).toMatch(/sample-1 +drill +one +1 .*% · /);
  const active = (await longshore(fleet, 'active', '--json')).json();
  expect(active).toEqual({ count: 1, jobs: [expect.objectContaining({ workflow_id: id, step: 'one' })] });
  const ping = (await longshore(fleet, 'ping', hostname(), '--json')).json();
  expect(ping.silent).toEqual([]);
  expect(ping.replies).toHaveLength(2);
  await fleet.engine.revoke(id, { actor: 'test' });
});

test('what waits in a queue that was renamed in the configuration is told with its queue and what to do', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 } });
  await fleet.worker();
  const steps = [{ name: 'one', task: 'drill', queue: 'former.q', kwargs: { journal: fleet.journal } }];
  const start = { initiator: 'test', dataset_id: await fleet.dataset() };
  const { id } = await fleet.engine.start({ name: 'drill', steps }, start);
  const told = async () => (await longshore(fleet, 'status', '--json')).json().problems as string[];
  const former = expect.stringContaining('1 workflow waits in queue former.q, which no worker');
  expect(await told()).toEqual([former]);
  // As it says: a worker of that queue takes what waits there.
  await fleet.worker({ LONGSHORE_QUEUE: 'former.q' });
  await fleet.reaches(id, 'SUCCESS');
  expect(await told()).toEqual([]);
});

test('longshore status counts the jobs and slots of all queues, and says as start does which queue nobody serves', async () => {
  const fleet = await makeFleet({
    autoscale: { min: 1, max: 1 },
    workers: { tape: { queues: ['{app_id}.tape', { name: '{app_id}.more', min: 2, max: 2 }] } },
    workflow_registry: { taped: { steps: [{ name: 'one', task: 'drill', queue: '{app_id}.tape' }] } },
  });
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  await steerer.untilListed(1);
  const nobody = 'No worker takes jobs from queue longshore-test.tape';
  const started = await longshore(fleet, 'start', 'taped', String(await fleet.dataset()));
  expect(started).toMatchObject({ code: 0, stderr: expect.stringContaining(nobody) });
  const waiting = (await longshore(fleet, 'status', '--json')).json();
  expect(waiting).toMatchObject({
    queue: { running: 0, ready: 1 },
    problems: [`${nobody}, and 1 wait in it.`],
  });
  const [id = ''] = /[0-9a-f-]{36}/.exec(started.stdout) ?? [];
  await fleet.engine.revoke(id, { actor: 'test' });

  await fleet.worker({ LONGSHORE_WORKER: 'tape' });
  await steerer.untilListed(2);
  const kwargs = { journal: fleet.journal, until_file: fleet.place.path('go') };
  const steps = [{ name: 'one', task: 'drill', queue: '{app_id}.tape', kwargs }];
  const start = { initiator: 'test', dataset_id: await fleet.dataset() };
  const { id: running } = await fleet.engine.start({ name: 'drill', steps }, start);
  const seen = await until(
    async () => {
      const status = (await longshore(fleet, 'status', '--json')).json();
      return status.workers.some(({ busy }: { busy: number }) => busy === 1) ? status : null;
    },
    { what: 'a busy worker', every_ms: 500 },
  );
  expect(seen).toMatchObject({ queue: { running: 1, ready: 0 }, problems: [] });
  expect(seen.workers.map(({ slots }: { slots: number }) => slots)).toEqual([1, 3]);
  expect((await longshore(fleet, 'status')).stdout).toMatch(
    /workers +2, .*\(0 of 1 slot, .*\(1 of 3 slots, /,
  );
  writeFileSync(fleet.place.path('go'), '');
  await fleet.reaches(running, 'SUCCESS');
});

test('status and start say that work waits because its queue is paused or its workers are drained', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  await steerer.untilListed(1);
  const started = async (): Promise<string> =>
    (await longshore(fleet, 'start', 'archive', String(await fleet.dataset()))).stderr;
  const problems = async (): Promise<string[]> =>
    (await longshore(fleet, 'status', '--json')).json().problems;
  await longshore(fleet, 'pause-queue');
  const paused = 'Queue longshore-test.q is paused (npx longshore resume-queue longshore-test.q)';
  expect(await started()).toContain(paused);
  expect(await problems()).toEqual([`${paused}, and 1 wait in it.`]);
  // Who would wait for the end is told instead, and begins nothing.
  const tried = await runScript('enqueue-test.ts', ['--task', 'inspect_dataset'], fleet.place.env);
  expect(tried).toMatchObject({ code: 5, stdout: '' });
  expect(tried.stderr).toContain('E_NO_WORKER: Queue longshore-test.q is paused\n');
  expect(tried.stderr).toContain('`npx longshore resume-queue longshore-test.q`');
  await longshore(fleet, 'drain', 'all');
  await longshore(fleet, 'resume-queue');
  const drained = 'Every worker of queue longshore-test.q is drained (npx longshore undrain all)';
  expect(await until(async () => (await problems()).find((one) => one.startsWith('Every')))).toBe(
    `${drained}, and 1 wait in it.`,
  );
  expect(await started()).toContain(drained);
});

/** A task that does not listen is asked to end for so long, before it is killed. */
const GRACE_SECONDS = 60;

test('longshore cancel stops a deaf task of another process without the usual grace, and keeps the reason', async () => {
  const fleet = await makeFleet({ task: { kill_grace_seconds: GRACE_SECONDS } });
  await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { deaf_until_file: go, grandchild: true }, two: {} });
  const { pid } = await until(() => fleet.events('grandchild')[0]);
  const [{ task_id = '' } = {}] = fleet.events('start');
  const dry = await longshore(fleet, 'cancel', task_id, '--dry-run');
  expect(dry.stdout).toContain('nothing was changed');
  const before = Date.now();
  const answer = await longshore(fleet, 'cancel', task_id, '--reason', 'wrong folder', '--json');
  const took = Date.now() - before;
  expect(answer.json()).toMatchObject({ task_id, workflow_id: id, process: 'stopped' });
  expect(membersOf(pid)).toEqual([]);
  // In how little time it ends is measured across two hosts (tests/fleet/two-hosts.test.ts), without the start of a command.
  expect(took).toBeLessThan((GRACE_SECONDS * 1000) / 2);
  expect((await fleet.engine.show(id)).status).toBe('REVOKED');
  const [attempt] = await fleet.store.records.attempts(task_id);
  expect(attempt?.reason).toContain('wrong folder');
  const [audit] = await fleet.store.records.auditLog({ subject: `workflow:${id}` });
  expect(audit).toMatchObject({ action: 'workflow.pause', details: { task_id, reason: 'wrong folder' } });
  const again = await longshore(fleet, 'cancel', task_id);
  expect(again).toMatchObject({ code: 4, stderr: expect.stringContaining('E_WORKFLOW_STATE') });
  writeFileSync(go, '');
  await fleet.engine.resume(id, { actor: 'test' });
  await fleet.reaches(id, 'SUCCESS');
});

test('longshore cancel takes a job id as well, and with --revoke the whole chain', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const id = await fleet.start({ one: {}, two: { until_file: fleet.place.path('never') }, three: {} });
  await until(() => fleet.events('start', 'two')[0]);
  const answer = await longshore(fleet, 'cancel', `${id}.1`, '--revoke');
  expect(answer).toMatchObject({ code: 0, stdout: expect.stringContaining('step "two"') });
  await until(async () => Object.values((await fleet.engine.fleet()).jobs).every((count) => count === 0), {
    what: 'an empty queue',
  });
});

test('longshore grow, drain and shutdown reach one worker, a host or all, and change nothing in a dry run', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  const [first, second] = [await fleet.worker(), await fleet.worker()];
  await steerer.untilListed(2);
  const one = `${hostname()}:${first.pid}`;
  const slots = async () =>
    new Map((await steerer.workers()).map(({ pid, queues }) => [pid, queues[0]?.slots]));
  expect((await longshore(fleet, 'grow', one, '3', '--dry-run')).stdout).toContain('nothing was changed');
  expect((await slots()).get(first.pid)).toBe(2);
  const grown = await longshore(fleet, 'grow', one, '3');
  expect(grown).toMatchObject({ code: 0, stdout: expect.stringContaining('2 → 5 slots') });
  expect(await slots()).toEqual(
    new Map([
      [first.pid, 5],
      [second.pid, 2],
    ]),
  );
  const two = `${hostname()}:${second.pid}`;
  const several = await longshore(fleet, 'drain', one, 'nowhere', two, '--dry-run', '--json');
  expect(several).toMatchObject({ code: 5 });
  expect(several.json()).toMatchObject({
    orders: [
      { given: one, would: 'drain', workers: [expect.stringContaining(one)] },
      { given: 'nowhere', error: { code: 'E_NO_WORKER' } },
      { given: two, would: 'drain', workers: [expect.stringContaining(two)] },
    ],
  });
  const pinged = await longshore(fleet, 'ping', one, two, hostname(), '--json');
  expect((pinged.json() as { replies: object[] }).replies).toHaveLength(2);
  await longshore(fleet, 'drain', hostname());
  expect((await steerer.workers()).map(({ state }) => state)).toEqual(['draining', 'draining']);
  expect(await steerer.side.registry.drainedHosts()).toEqual([hostname()]);
  expect((await longshore(fleet, 'fleet')).stdout).toContain(`host ${hostname()} is drained`);
  await longshore(fleet, 'drain', hostname(), '--undo');
  expect(await steerer.side.registry.drainedHosts()).toEqual([]);
  await fleet.reaches(await fleet.start({ one: {} }), 'SUCCESS');
  const left = await longshore(fleet, 'shutdown', 'all', '--json');
  expect(left.json()).toMatchObject({ order: 'shutdown', silent: [] });
  expect([(await first.exited).code, (await second.exited).code]).toEqual([79, 79]);
  expect(await longshore(fleet, 'ping')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('E_NO_WORKER'),
  });
});

test('a silent worker is named, with exit code 5; a name that nobody has is refused with those there are', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  const worker = await fleet.worker();
  await steerer.untilListed(1);
  const unknown = await longshore(fleet, 'drain', 'nowhere');
  expect(unknown).toMatchObject({ code: 5, stderr: expect.stringContaining(`:${worker.pid}`) });
  worker.kill('SIGSTOP');
  const answer = await longshore(fleet, 'grow', 'all', '--wait', '0.5');
  expect(answer).toMatchObject({ code: 5, stderr: expect.stringContaining('no answer within 0.5 s') });
});

test('a paused queue hands out nothing until it is resumed, and that is shown', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  expect(await longshore(fleet, 'pause-queue')).toMatchObject({ code: 0 });
  const id = await fleet.start({ one: {} });
  const shown = await longshore(fleet, 'fleet');
  expect(shown.stdout).toMatch(/longshore-test\.q +paused +1 +0 +1/);
  expect(fleet.events('start')).toEqual([]);
  // Also when it was asked for before: BullMQ notes what is merely opened.
  for (const _try of [1, 2, 3])
    expect(await longshore(fleet, 'pause-queue', 'no-such.q')).toMatchObject({ code: 2 });
  expect(await longshore(fleet, 'resume-queue')).toMatchObject({ code: 0 });
  await fleet.reaches(id, 'SUCCESS');
});

test('on a terminal --watch takes the other screen and gives it back, and wipes nothing', async () => {
  const fleet = await makeFleet();
  const { code, text } = await onTerminal('longshore.ts', ['fleet', '--watch'], fleet.place.env, {
    after: 'No worker is there',
    type: '\u0003',
  });
  expect(code).toBe(130);
  expect([text.slice(0, 8), text.slice(-8)]).toEqual(['\u001b[?1049h', '\u001b[?1049l']);
  expect(text).not.toContain('\u001b[3J');
});

test('longshore fleet --watch shows it again and again, and ends with an interrupt', async () => {
  const fleet = await makeFleet();
  const watching = startScript('longshore.ts', ['fleet', '--watch', '--json'], fleet.place.env);
  await until(() => watching.stdout().split('\n').length > 2, { what: 'a second look' });
  const looks = watching.stdout().trim().split('\n');
  expect(JSON.parse(looks[0] ?? '')).toMatchObject({
    workers: [],
    problems: [expect.stringContaining('No worker')],
  });
  watching.kill('SIGINT');
  expect((await watching.ended).signal).toBe('SIGINT');
});

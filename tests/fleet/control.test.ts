import { existsSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { makeFleet } from '../support/fleet.ts';
import { makeSteerer } from '../support/steer.ts';
import { until } from '../support/until.ts';

test('every worker answers with its name; who is silent is named at the deadline', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  const stopped = await fleet.worker();
  const names = (await steerer.untilListed(2)).map(({ name }) => name);
  stopped.kill('SIGSTOP');
  const { replies, silent } = await steerer.side.control.ask('ping', {}, { to: names, wait_seconds: 2 });
  expect(replies).toEqual([
    expect.objectContaining({ worker: names[0], outcome: 'done', result: { state: 'working' } }),
  ]);
  expect(replies[0]?.ms).toBeGreaterThan(0);
  expect(silent).toEqual([names[1]]);
});

test('an order that a worker does not know is answered as unknown, one that fails with its code', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  const name = await steerer.only();
  for (const order of ['dance', 'constructor', '__proto__'])
    expect(await steerer.tell(name, order)).toMatchObject({ worker: name, outcome: 'unknown' });
  expect(await steerer.tell(name, 'grow', { by: -3 })).toMatchObject({
    outcome: 'failed',
    error: { code: 'E_USAGE', message: expect.stringContaining('-3') },
  });
  expect(await steerer.tell(name, 'grow', { by: 1, queue: 'other.q' })).toMatchObject({
    outcome: 'failed',
    error: { code: 'E_USAGE', message: expect.stringContaining('longshore-test.q') },
  });
});

test('grow gives slots at once, also while long jobs run, and shrink takes them without ending a job', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1, idle_seconds: 600 } });
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  const name = await steerer.only();
  const go = fleet.place.path('go');
  const ids = [];
  for (const step of ['a', 'b', 'c', 'd']) ids.push(await fleet.start({ [step]: { until_file: go } }));
  await until(() => fleet.events('start').length === 1);
  expect((await steerer.tell(name, 'grow', { by: 2 })).result).toMatchObject({ before: 1, slots: 3, max: 3 });
  await until(() => fleet.events('start').length === 3, { what: 'three at a time' });
  expect((await steerer.tell(name, 'shrink', { by: 9 })).result).toMatchObject({ slots: 1, min: 1, max: 1 });
  const [entry] = await steerer.workers();
  expect(entry?.queues[0]).toMatchObject({ slots: 1, max: 1, busy: 3 });
  writeFileSync(go, '');
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start')).toHaveLength(4);
});

test('a drained worker takes nothing more and lets its job end; released, it goes on', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  await fleet.worker();
  const name = await steerer.only();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go } });
  await until(() => fleet.events('start')[0]);
  expect((await steerer.tell(name, 'drain')).result).toEqual({ running: 1 });
  const later = await fleet.start({ two: {} });
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
  // By then a worker that takes jobs would have begun the other one long since.
  const drained = await until(async () => {
    const [entry] = await steerer.workers();
    return entry?.running.length === 0 ? entry : null;
  });
  expect(drained.state).toBe('draining');
  expect((await fleet.engine.fleet()).jobs).toMatchObject({ active: 0, prioritized: 1 });
  expect(fleet.events('start', 'two')).toEqual([]);
  await steerer.tell(name, 'undrain');
  await fleet.reaches(later, 'SUCCESS');
  expect((await steerer.workers())[0]?.state).toBe('working');
});

test('a worker that is started on a drained host takes nothing until the host is released', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  await steerer.side.registry.setDrained(hostname(), true);
  const id = await fleet.start({ one: {} });
  const worker = await fleet.worker();
  const [entry] = await steerer.untilListed(1);
  expect(entry?.state).toBe('draining');
  expect(worker.log()).toContain('this host is drained');
  expect((await fleet.engine.fleet()).jobs).toMatchObject({ active: 0, prioritized: 1 });
  await steerer.side.registry.setDrained(hostname(), false);
  await steerer.tell(entry?.name ?? '', 'undrain');
  await fleet.reaches(id, 'SUCCESS');
});

test('shutdown waits for the job that runs, takes none meanwhile, and stays down', async () => {
  const fleet = await makeFleet();
  const steerer = await makeSteerer(fleet);
  const worker = await fleet.worker();
  const name = await steerer.only();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go }, two: {} });
  await until(() => fleet.events('start')[0]);
  expect((await steerer.tell(name, 'shutdown')).result).toEqual({ running: 1 });
  expect((await steerer.tell(name, 'undrain')).outcome).toBe('failed');
  expect((await steerer.workers())[0]).toMatchObject({ state: 'leaving', running: [{ step: 'one' }] });
  writeFileSync(go, '');
  expect(await worker.exited).toEqual({ code: 79, signal: null });
  expect(await steerer.workers()).toEqual([]);
  expect((await fleet.engine.show(id)).steps.map(({ status }) => status)).toEqual(['SUCCESS', 'PENDING']);
});

test('an immediate shutdown hastens one that waits: the job is handed back and runs elsewhere, no retry counted', async () => {
  const fleet = await makeFleet({ queue: { lock_seconds: 600 } });
  const steerer = await makeSteerer(fleet);
  const worker = await fleet.worker();
  const name = await steerer.only();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { until_file: go, grandchild: true } });
  const { pid } = await until(() => fleet.events('grandchild')[0]);
  await steerer.tell(name, 'shutdown', { restart: true });
  await steerer.tell(name, 'shutdown', { immediate: true, restart: true });
  expect(await worker.exited).toEqual({ code: 75, signal: null });
  expect(membersOf(pid)).toEqual([]);
  // By the worker's own clock: pm2's stop has four seconds between these two, this order has none.
  const at = (message: string): number =>
    Date.parse(/"time":"([^"]+)"/.exec(linesWith(worker.log(), message)[0] ?? '')?.[1] ?? '');
  expect(at('jobs that still run are handed back') - at('worker takes no more jobs"')).toBeLessThan(3_000);
  await fleet.worker();
  await until(() => fleet.events('start').length === 2, { what: 'the job to run again' });
  writeFileSync(go, '');
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.last_task_run).toMatchObject({ losses: 0, retries: 0 });
});

const linesWith = (log: string, text: string): string[] =>
  log.split('\n').filter((line) => line.includes(text));

test('a pause for one task leaves a step alone that has ended meanwhile', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const never = fleet.place.path('never');
  const id = await fleet.start({ one: {}, two: { until_file: never } });
  await until(() => fleet.events('start', 'two')[0]);
  const [first] = fleet.events('start', 'one');
  const stale = { actor: 'test', task_id: first?.task_id ?? '' };
  expect((await fleet.engine.pause(id, stale)).paused).toBe(false);
  expect((await fleet.engine.show(id)).status).toBe('STARTED');
  const [second] = fleet.events('start', 'two');
  const answer = await fleet.engine.pause(id, {
    actor: 'test',
    task_id: second?.task_id ?? '',
    reason: 'wrong folder',
  });
  expect(answer).toMatchObject({ paused: true, process: 'stopped' });
  const [attempt] = await fleet.store.records.attempts(second?.task_id ?? '');
  expect(attempt).toMatchObject({ outcome: 'revoked', reason: 'paused by test: wrong folder' });
  expect(existsSync(never)).toBe(false);
});

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { until } from '../support/until.ts';

const REUSED = { task: { attempts_per_process: 3 }, autoscale: { min: 1, max: 1 } };

/** Each attempt's process leads a group of its own. */
const alive = (pid: number): boolean => membersOf(pid).length > 0;

type Steps = Parameters<Fleet['start']>[0];

/** Process ids of the attempts, in the order in which they began. */
async function processesOf(fleet: Fleet, steps: Steps) {
  await fleet.reaches(await fleet.start(steps), 'SUCCESS');
  return fleet.events('start').map(({ pid }) => pid);
}

test('without the word of its limits every attempt has a process of its own', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 } });
  await fleet.worker();
  const pids = await processesOf(fleet, { one: {}, two: {}, three: {} });
  expect(new Set(pids).size).toBe(3);
});

test('a process takes as many attempts as it may, one after the other, and no more', async () => {
  const fleet = await makeFleet(REUSED);
  await fleet.worker();
  const pids = await processesOf(fleet, { one: {}, two: {}, three: {}, four: {}, five: {} });
  expect(new Set(pids).size).toBe(2);
  expect(pids.slice(0, 3)).toEqual([pids[0], pids[0], pids[0]]);
  expect(pids.slice(3)).toEqual([pids[3], pids[3]]);
  await until(() => !alive(pids[0] ?? 0), { what: 'the process that has done its part to be gone' });
});

test.each([
  ['started a process', { grandchild: true }],
  ['left a timer', { leave_open: true }],
])('one that %s takes no other attempt, and is gone with what it left', async (_what, options) => {
  const fleet = await makeFleet(REUSED);
  await fleet.worker();
  const pids = await processesOf(fleet, { one: options, two: {} });
  expect(new Set(pids).size).toBe(2);
  // Its group has what it had started.
  await until(() => !alive(pids[0] ?? 0), { what: 'its process group to be gone' });
});

test('after a failure the next attempt begins in a fresh process', async () => {
  const fleet = await makeFleet({ ...REUSED, workflow: { retry: { max: 1, delay_seconds: 0.1 } } });
  await fleet.worker();
  const pids = await processesOf(fleet, { one: { fail: 1 } });
  expect(new Set(pids).size).toBe(2);
});

test('a change of its code is met by a fresh process', async () => {
  const fleet = await makeFleet(REUSED);
  const folder = fleet.place.dir('tasks');
  const said = fleet.place.path('said');
  const write = (word: string): void =>
    writeFileSync(
      join(folder, 'speak.ts'),
      `import { appendFileSync } from 'node:fs';
       export const task = { description: '', run: async ({ dataset_id }) => {
         appendFileSync(${JSON.stringify(said)}, '${word} ' + process.pid + '\\n');
         return [dataset_id];
       } };`,
    );
  write('old');
  await fleet.worker({ LONGSHORE_TASKS_PATH: folder });
  const speak = async (): Promise<void> => {
    const steps = [{ name: 'one', task: 'speak' }];
    const started = { initiator: 'test', dataset_id: await fleet.dataset() };
    await fleet.reaches((await fleet.engine.start({ name: 'talk', steps }, started)).id, 'SUCCESS');
  };
  await speak();
  await speak();
  write('new');
  await speak();
  const lines = readFileSync(said, 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => line.split(' ')[0])).toEqual(['old', 'old', 'new']);
  expect(new Set(lines).size).toBe(2);
});

test('a pause of a second attempt ends its process, and with the worker all of them end', async () => {
  const fleet = await makeFleet(REUSED);
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: {}, two: { until_file: go }, three: {} });
  await until(() => fleet.events('start').length === 2, { what: 'the second step at work' });
  const [first, second] = fleet.events('start').map(({ pid }) => pid);
  expect(second).toBe(first);
  expect((await fleet.engine.pause(id, { actor: 'test' })).process).toBe('stopped');
  expect(alive(first ?? 0)).toBe(false);
  writeFileSync(go, '');
  await fleet.engine.resume(id, { actor: 'test' });
  await fleet.reaches(id, 'SUCCESS');
  const last = fleet.events('start').at(-1)?.pid ?? 0;
  worker.kill('SIGKILL');
  await until(() => !alive(last), { what: 'the process that waited for work to be gone' });
});

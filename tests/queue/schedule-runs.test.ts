import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import {
  askForRun,
  listSchedules,
  lookAtRun,
  type ScheduleState,
} from '../../workers/queue/schedule-list.ts';
import { openSchedules, type Schedules } from '../../workers/queue/schedules.ts';
import { withScriptLock } from '../../workers/queue/script-lock.ts';
import { openTickQueue } from '../../workers/queue/tick-queue.ts';
import { makePlace, type Place } from '../support/place.ts';
import { runScript, startScript } from '../support/script.ts';
import { until } from '../support/until.ts';
import { journal, lendEnvironment, writeScript } from './scheduled-script.ts';

const root = join(import.meta.dirname, '../..');
const log = createLogger('test', {}, { level: 'fatal' });
const everySecond = '* * * * * *';
const daily = '0 7 * * *';

interface Fleet {
  redis: Redis;
  start(missed_after_ms?: number): Promise<Schedules>;
  list(): Promise<ScheduleState>;
  /** Has the schedule run now; what the queue says of that. */
  ask(): Promise<() => Promise<string>>;
}

async function fleetOf(place: Place, folder: string): Promise<Fleet> {
  lendEnvironment(place);
  const redis = await connectRedis(place.config, { log });
  const queue = openTickQueue(place.config, redis, log);
  const open: Schedules[] = [];
  onTestFinished(async () => {
    for (const one of open) await one.close();
    await queue.close();
    redis.disconnect();
  });
  return {
    redis,
    start: async (missed_after_ms) => {
      const started = await openSchedules(place.config, redis, log, { folder, missed_after_ms });
      open.push(started);
      return started;
    },
    list: async () => {
      const [row] = await listSchedules(place.config, queue, redis);
      if (row === undefined) throw new Error('no schedule is configured');
      return row;
    },
    ask: async () => {
      const [schedule] = place.config.schedules;
      if (schedule === undefined) throw new Error('no schedule is configured');
      const { id = '' } = await askForRun(queue, schedule);
      return async () => (await lookAtRun(queue, id)).state;
    },
  };
}

test('a turn that no worker was there for is run once when one comes back, and the next one is in the future', async () => {
  // Long enough apart that the turn after it does not take its place on the list before we look.
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: '*/10 * * * * *' }] });
  const folder = writeScript(place, 'purge', `note('begin'); await arrived('go'); note('end');`);
  const fleet = await fleetOf(place, folder);
  const first = await fleet.start();
  await first.close();
  const { next } = await fleet.list();
  const due = Date.parse(next ?? '');
  // Two turns go by.
  await until(() => Date.now() > due + 11_000, { what: 'turns to be missed' });
  await fleet.start(500);
  await until(() => journal(place).includes('begin'), { what: 'the missed turn to be run' });
  expect((await fleet.list()).last_run).toMatchObject({ due: next, outcome: 'running' });
  writeFileSync(place.path('go'), '');
  await until(() => journal(place).includes('end'));
  const after = await fleet.list();
  expect(Date.parse(after.next ?? '')).toBeGreaterThan(due + 10_000);
});

test('with missed: skip the turn is left out and told, and the next one runs', async () => {
  const place = await makePlace({
    schedules: [{ script: 'purge', args: [], cron: everySecond, missed: 'skip' }],
  });
  const folder = writeScript(place, 'purge', `note('begin');`);
  const fleet = await fleetOf(place, folder);
  await (await fleet.start()).close();
  const before = await fleet.list();
  await until(() => Date.now() > Date.parse(before.next ?? '') + 2000, { what: 'a turn to be missed' });
  await fleet.start(1500);
  const seen = await until(async () => {
    const { last_run, last_skip } = await fleet.list();
    return last_run?.outcome === 'done' && last_skip !== null ? { last_run, last_skip } : null;
  });
  expect(seen.last_skip).toMatchObject({ why: 'missed', due: before.next });
  expect(seen.last_run.due).not.toBe(before.next);
});

test('what is known of a run: due, begun, ended, result, worker; a skipped turn does not hide the run it found', async () => {
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: everySecond }] });
  const folder = writeScript(place, 'purge', `await arrived('go'); process.exitCode = 7;`);
  const fleet = await fleetOf(place, folder);
  await fleet.start();
  const busy = await until(async () => {
    const row = await fleet.list();
    return row.last_skip !== null && row.last_run?.outcome === 'running' ? row : null;
  });
  expect(busy.last_skip?.why).toBe('busy');
  expect(busy.running_at).toMatch(/:\d+$/);
  writeFileSync(place.path('go'), '');
  const failed = await until(async () => {
    const { last_run } = await fleet.list();
    return last_run?.outcome === 'failed' ? last_run : null;
  });
  expect(failed.reason).toBe('scripts/purge.ts ended with exit code 7');
  expect(Date.parse(failed.ended_at ?? '')).toBeGreaterThanOrEqual(Date.parse(failed.started_at));
  expect(failed.worker).toContain(`:${process.pid}`);
});

test('a turn that finds its script at work by hand leaves what is known of the run before', async () => {
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: daily }] });
  const fleet = await fleetOf(place, writeScript(place, 'purge', `note('end');`));
  await fleet.start();
  const first = await fleet.ask();
  await until(async () => (await first()) === 'done', { what: 'a run to end' });
  const { last_run } = await fleet.list();
  await withScriptLock(place.config, 'purge', log, async () => {
    const second = await fleet.ask();
    await until(async () => (await second()) === 'skipped', { what: 'the turn to be skipped' });
  });
  expect((await fleet.list()).last_run).toEqual(last_run);
  expect(journal(place)).toEqual(['end']);
});

test('a script goes on when its worker is restarted meanwhile; the next worker waits for its end instead of running it again', async () => {
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: daily }] });
  const folder = writeScript(place, 'purge', `note('begin'); await arrived('go'); note('end');`);
  const fleet = await fleetOf(place, folder);
  const first = await fleet.start();
  const state = await fleet.ask();
  await until(() => journal(place).includes('begin'), { what: 'the script to begin' });
  await first.close();
  expect(await state()).toBe('waiting');
  await fleet.start();
  await until(async () => (await state()) === 'running', { what: 'the next worker to take the turn' });
  writeFileSync(place.path('go'), '');
  await until(async () => (await state()) !== 'running', { what: 'the turn to end' });
  expect(await state()).toBe('done');
  expect(journal(place)).toEqual(['begin', 'end']);
  const { last_run, last_skip, lost } = await fleet.list();
  expect(last_run).toMatchObject({ outcome: 'done', reason: null, due: null });
  expect([last_skip, lost]).toEqual([null, false]);
});

test('a script that ends while no worker is there is shown with its result at once, and is not run again', async () => {
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: daily }] });
  const folder = writeScript(
    place,
    'purge',
    `note('begin'); await arrived('go'); process.exitCode = 7; note('end');`,
  );
  const fleet = await fleetOf(place, folder);
  const first = await fleet.start();
  const state = await fleet.ask();
  await until(() => journal(place).includes('begin'), { what: 'the script to begin' });
  await first.close();
  writeFileSync(place.path('go'), '');
  const ended = await until(async () => {
    const { last_run, running_at } = await fleet.list();
    return last_run?.outcome !== 'running' && running_at === null ? last_run : null;
  });
  expect(ended).toMatchObject({ outcome: 'failed', reason: 'scripts/purge.ts ended with exit code 7' });
  await fleet.start();
  await until(async () => (await state()) === 'failed', { what: 'the turn to end' });
  expect(journal(place)).toEqual(['begin', 'end']);
  expect((await fleet.list()).last_run).toEqual(ended);
});

test('a turn whose worker leaves before its script has the lock is run once, whoever gets the lock first', async () => {
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: daily }] });
  const folder = writeScript(place, 'purge', `note('begin'); await arrived('go'); note('end');`);
  const fleet = await fleetOf(place, folder);
  const first = await fleet.start();
  const state = await fleet.ask();
  // It is remembered right after its process was started, which needs a while until it runs.
  await until(async () => (await fleet.list()).last_run !== null, { what: 'the script to be started' });
  await first.close();
  await fleet.start();
  writeFileSync(place.path('go'), '');
  await until(async () => (await state()) === 'done', { what: 'the turn to end' });
  expect(journal(place)).toEqual(['begin', 'end']);
});

test('a Redis that has lost everything gets the schedules again', async () => {
  const place = await makePlace({
    queue: { url: null },
    schedules: [{ script: 'purge', args: [], cron: everySecond }],
  });
  place.env.REDIS_URL = '';
  const folder = writeScript(place, 'purge', `note('begin');`);
  let server = await startEmbeddedRedis(place.path('redis'), { persist: false });
  // Before the fleet's own: what ends last is to be registered first.
  onTestFinished(() => server.stop());
  const fleet = await fleetOf(place, folder);
  await fleet.start();
  await until(() => journal(place).length >= 1);
  await server.stop();
  server = await startEmbeddedRedis(place.path('redis'), { persist: false });
  const before = journal(place).length;
  await until(() => journal(place).length > before + 1, { what: 'turns after the loss' });
});

test('each plain line of a scheduled script begins with its name; what it logs is left as it is', async () => {
  const place = await makePlace();
  const script = place.path('tidy_up.ts');
  writeFileSync(
    script,
    `import { createLogger } from '${root}/workers/log.ts';
     process.stdout.write('one\\ntwo, ');
     process.stdout.write('and its rest\\n\\nthree\\n');
     process.stderr.write('to stderr\\n');
     createLogger('tidy_up').error('logged');`,
  );
  const named = join(root, 'workers/queue/named-lines.ts');
  const { stdout, stderr } = spawnSync(process.execPath, ['--import', named, script], { encoding: 'utf8' });
  const lines = stdout.split('\n');
  expect(lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as object)).toEqual([
    expect.objectContaining({ name: 'tidy_up', msg: 'logged' }),
  ]);
  expect(lines.filter((line) => !line.startsWith('{'))).toEqual([
    'tidy_up: one',
    'tidy_up: two, and its rest',
    'tidy_up: ',
    'tidy_up: three',
    '',
  ]);
  expect(stderr).toBe('tidy_up: to stderr\n');
});

test('longshore schedules run hands it to a worker, waits and tells; without one it refuses; a running one is busy', async () => {
  const place = await makePlace({
    schedules: [
      { script: 'scrub', args: [], cron: daily },
      { script: 'purge_staged_datasets', args: ['--max-purges', '1'], cron: daily },
      { script: 'purge_staged_datasets', args: ['--max-purges', '2'], cron: daily },
    ],
  });
  const longshore = (...args: string[]) => runScript('longshore.ts', ['schedules', ...args], place.env);
  expect(await longshore('run', 'scrub')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('E_NO_WORKER'),
  });
  expect((await longshore('run', 'purge_staged_datasets --max-purges 1')).stderr).toContain(
    'node scripts/purge_staged_datasets.ts --max-purges 1',
  );
  expect(await longshore('run', 'moon')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('no schedule'),
  });
  const fresh = JSON.parse((await longshore('--json')).stdout) as { schedules: ScheduleState[] };
  expect(fresh.schedules.map(({ next, last_run }) => [next, last_run])).toEqual([
    [null, null],
    [null, null],
    [null, null],
  ]);

  const worker = startScript('../workers/worker.ts', [], place.env);
  await until(() => worker.stdout().includes('worker ready'), { what: 'the worker' });
  expect(await longshore('run', 'purge_staged_datasets')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('several schedules'),
  });
  expect(await longshore('run', 'scrub', '--dry-run')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('dry run'),
  });
  expect((await longshore()).stdout).not.toContain('done');
  const ran = await longshore('run', 'scrub', '--json');
  expect(ran.code).toBe(0);
  expect(JSON.parse(ran.stdout)).toMatchObject({ schedule: 'scrub', state: 'done' });
  await until(() => /^scrub: \S/m.test(worker.stdout()), { what: 'its lines, with its name' });
  expect((await longshore('run', 'scrub')).stdout).toBe('scrub: done; see npx longshore fixity\n');
  const shown = await longshore();
  expect(shown.stdout).toMatch(/scrub\s+0 7 \* \* \*\s+in .*done/);
  expect(shown.stdout).toContain('purge_staged_datasets --max-purges 2');

  const redis = await connectRedis(place.config, { log });
  await redis.set(`${place.config.queue.prefix}:${place.config.app_id}:script:scrub`, 'far:42:token');
  expect((await longshore('run', 'scrub')).code).toBe(75);
  expect((await longshore()).stdout).toContain('far:42');
  redis.disconnect();
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, relative } from 'node:path';
import { Queue } from 'bullmq';
import { expect, onTestFinished, test, vi } from 'vitest';
import { config } from '../../config/common.ts';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { openSchedules } from '../../workers/queue/schedules.ts';
import { openTickQueue } from '../../workers/queue/tick-queue.ts';
import { withScriptLock } from '../../workers/queue/script-lock.ts';
import { makePlace, type Place } from '../support/place.ts';
import { until } from '../support/until.ts';
import { journal, lendEnvironment, writeScript } from './scheduled-script.ts';

const log = createLogger('test', {});
const everySecond = '* * * * * *';
/** Writes what it does, and works until a file appears. */
const writePurge = (place: Place): string =>
  writeScript(
    place,
    'purge',
    `note('begin ' + process.argv.slice(2).join(' ')); await arrived('go'); note('end');`,
    `note('skipped');`,
  );

async function withSchedules(place: Place, folder: string): Promise<void> {
  lendEnvironment(place);
  const redis = await connectRedis(place.config, { log });
  const schedules = await openSchedules(place.config, redis, log, { folder });
  onTestFinished(async () => {
    await schedules.close();
    redis.disconnect();
  });
}

test('a tick runs its script with its arguments; ticks that find it still active are skipped, not killed', async () => {
  const place = await makePlace({
    schedules: [{ script: 'purge', args: ['--dry', 'run'], cron: everySecond }],
  });
  const folder = writePurge(place);
  await withSchedules(place, folder);
  await until(() => journal(place).includes('skipped'), { what: 'a skipped tick' });
  expect(journal(place)[0]).toBe('begin --dry run');
  expect(journal(place).filter((line) => line.startsWith('begin'))).toHaveLength(1);
  writeFileSync(place.path('go'), '');
  await until(() => journal(place).filter((line) => line === 'end').length >= 2, { what: 'a second run' });
});

test('what stands in Redis runs no file and no arguments that the configuration does not name', async () => {
  const place = await makePlace({
    schedules: [{ script: 'purge', args: ['--dry', 'run'], cron: '0 7 1 1 *' }],
  });
  const folder = writePurge(place);
  writeFileSync(place.path('elsewhere.ts'), readFileSync(join(folder, 'purge.ts')));
  await withSchedules(place, folder);
  const redis = await connectRedis(place.config, { log });
  const name = `${place.config.app_id}.schedules`;
  const connection = { connection: redis, prefix: place.config.queue.prefix };
  const queue = new Queue(name, connection);
  onTestFinished(async () => {
    await queue.close();
    redis.disconnect();
  });
  const add = (script: string, args: unknown) => queue.add(script, { script, args, by_hand: true });
  const others = [
    await add(relative(folder, place.path('elsewhere')), []),
    await add('purge', ['--force']),
    await add('purge', []),
    await add('purge', 'no list'),
  ];
  for (const job of others)
    await until(async () => (await job.getState()) === 'failed', { what: `${job.name} to be refused` });
  expect((await queue.getFailed()).map(({ failedReason }) => failedReason)).toEqual(
    Array(4).fill(expect.stringContaining('has no such schedule')),
  );
  await add('purge', ['--dry', 'run']);
  await until(() => journal(place).length > 0, { what: 'the one that is configured' });
  expect(journal(place)).toEqual(['begin --dry run']);
  writeFileSync(place.path('go'), '');
});

test('two workers run each tick once', async () => {
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: everySecond }] });
  writeFileSync(place.path('go'), '');
  const folder = writePurge(place);
  await withSchedules(place, folder);
  await withSchedules(place, folder);
  const begun = Date.now();
  await until(() => journal(place).filter((line) => line === 'end').length >= 3, { what: 'three runs' });
  const seconds = Math.ceil((Date.now() - begun) / 1000);
  expect(journal(place).filter((line) => line.startsWith('begin')).length).toBeLessThanOrEqual(seconds + 1);
});

test('schedules that left the configuration leave Redis', async () => {
  const before = await makePlace({ schedules: [{ script: 'purge', args: ['a'], cron: '0 7 * * *' }] });
  const redis = await connectRedis(before.config, { log });
  const queue = new Queue(`${before.config.app_id}.schedules`, {
    connection: redis,
    prefix: before.config.queue.prefix,
  });
  const known = async () => (await queue.getJobSchedulers(0, -1)).map((scheduler) => scheduler.key);
  const folder = writePurge(before);
  await (await openSchedules(before.config, redis, log, { folder })).close();
  expect(await known()).toEqual(['purge a']);
  const schedule = { script: 'purge', args: [], cron: '0 7 * * *', missed: 'run' as const };
  const changed = { ...before.config, schedules: [schedule] };
  await (await openSchedules(changed, redis, log, { folder })).close();
  expect(await known()).toEqual(['purge']);
  const patient = { ...changed, schedules: [{ ...schedule, missed: 'skip' as const }] };
  await (await openSchedules(patient, redis, log, { folder })).close();
  expect((await queue.getJobSchedulers(0, -1))[0]?.template?.data).toMatchObject({ missed: 'skip' });
  const wrong = { script: 'purge', args: [], cron: '61 99 * * *', missed: 'run' as const };
  const silent = createLogger('test', {}, { level: 'fatal' });
  await (await openSchedules({ ...changed, schedules: [wrong] }, redis, silent, { folder })).close();
  expect(await known()).toEqual([]);
  await (await openSchedules(changed, redis, log, { folder })).close();
  expect(await known()).toEqual(['purge']);
  await (await openSchedules({ ...changed, schedules: [] }, redis, log, { folder })).close();
  expect(await known()).toEqual([]);
  await queue.close();
  redis.disconnect();
});

test('a turn that a clock which was ahead has put beyond its time comes at its time when the clock is right', async () => {
  const place = await makePlace({ schedules: [{ script: 'purge', args: [], cron: '0 7 * * *' }] });
  const redis = await connectRedis(place.config, { log });
  const queue = openTickQueue(place.config, redis, log);
  const folder = writePurge(place);
  const next = async (): Promise<number> => {
    await (await openSchedules(place.config, redis, log, { folder })).close();
    return (await queue.getJobSchedulers(0, -1))[0]?.next ?? 0;
  };
  const DAY_MS = 86_400_000;
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 400 * DAY_MS });
  onTestFinished(() => void vi.useRealTimers());
  expect(await next()).toBeGreaterThan(Date.now() - 1);
  vi.useRealTimers();
  const right = await next();
  expect(right).toBeGreaterThan(Date.now());
  expect(right).toBeLessThan(Date.now() + 2 * DAY_MS);
  expect(await queue.getDelayedCount()).toBe(1);
  expect(await next()).toBe(right);
  await queue.close();
  redis.disconnect();
});

test('a script lock is held by one at a time, names its holder, and is free again afterwards, also after a failure', async () => {
  const { config } = await makePlace();
  const entered = Promise.withResolvers<void>();
  const leave = Promise.withResolvers<void>();
  const first = withScriptLock(config, 'purge', log, async () => {
    entered.resolve();
    await leave.promise;
    return 'first';
  });
  await entered.promise;
  const busy = await withScriptLock(config, 'purge', log, async () => 'second');
  expect(busy).toMatchObject({ ran: false, busy: { holder: `${hostname()}:${process.pid}`, subject: null } });
  expect(await withScriptLock(config, 'other', log, async () => 'other')).toEqual({
    ran: true,
    result: 'other',
  });
  leave.resolve();
  expect(await first).toEqual({ ran: true, result: 'first' });
  const failing = withScriptLock(config, 'purge', log, async () => {
    throw new Error('failed');
  });
  await expect(failing).rejects.toThrow('failed');
  expect((await withScriptLock(config, 'purge', log, async () => 'third')).ran).toBe(true);
});

test('a script whose Redis goes away is told that its lock is lost, and ended when it waits for that Redis all the same', async () => {
  const place = await makePlace();
  const redis = await startEmbeddedRedis(place.path('own'));
  onTestFinished(() => redis.stop());
  const folder = writeScript(
    place,
    'waits',
    `signal.addEventListener('abort', () => note('lost')); note('begun'); await arrived('never');`,
    '',
    '{ lease_ms: 600, leave_ms: 300 }',
  );
  const child = spawn(process.execPath, [join(folder, 'waits.ts')], {
    env: { ...process.env, ...place.env, REDIS_URL: redis.url },
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  onTestFinished(() => void child.kill('SIGKILL'));
  await until(() => journal(place).includes('begun'), { what: 'the script to begin' });
  await redis.stop();
  expect(await ended).toEqual([1, null]);
  expect(journal(place)).toEqual(['begun', 'lost']);
});

test('purging staged copies is scheduled daily at 07:00, and each scheduled script exists and takes a lock', () => {
  expect(config.schedules).toContainEqual({ script: 'purge_staged_datasets', args: [], cron: '0 7 * * *' });
  for (const { script } of config.schedules) {
    // Itself, or the tool that it runs.
    const folder = join(import.meta.dirname, '../../scripts');
    const text = readFileSync(join(folder, `${script}.ts`), 'utf8');
    const tools = [...text.matchAll(/from '(\.\/[^']+)'/g)].map(([, file = '']) =>
      /^\.\/cli\/[^/]+$/.test(file) ? '' : readFileSync(join(folder, file), 'utf8'),
    );
    expect([text, ...tools].join('\n'), script).toMatch(/withScriptLock\(|\balone\(/);
  }
});

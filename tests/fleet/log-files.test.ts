import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { rotateLogs } from '../../workers/fleet/health/log-files.ts';
import { makeFleet } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const KIB = 1024;

test('a log file that has grown large is set aside, so many are kept, and small ones stay as they are', async () => {
  const place = await makePlace({ logs: { max_bytes: 10 * KIB, keep: 2 } });
  const log = join(place.dir('log'), 'worker.log');
  const small = join(place.folder, 'log', 'watcher.err');
  const redis = join(place.dir('redis'), 'redis.log');
  writeFileSync(small, 'a little');
  writeFileSync(redis, 'r'.repeat(11 * KIB));
  for (const [turn, letter] of ['a', 'b', 'c', 'd'].entries()) {
    writeFileSync(log, letter.repeat(11 * KIB));
    expect(await rotateLogs(place.config)).toEqual(turn === 0 ? [log, redis] : [log]);
    expect(await rotateLogs(place.config)).toEqual([]);
  }
  expect(readdirSync(place.path('log')).sort()).toEqual([
    'watcher.err',
    'worker.log',
    'worker.log.1',
    'worker.log.2',
  ]);
  expect(statSync(log).size).toBe(0);
  expect(readFileSync(`${log}.1`, 'utf8')).toBe('d'.repeat(11 * KIB));
  expect(readFileSync(`${log}.2`, 'utf8')).toBe('c'.repeat(11 * KIB));
  expect(readFileSync(small, 'utf8')).toBe('a little');
  expect(existsSync(`${redis}.1`)).toBe(true);
});

test('who appends to a log file meanwhile, as pm2 does, goes on in it, and no line is lost', async () => {
  const place = await makePlace({ logs: { max_bytes: 64 * KIB, keep: 9 } });
  const file = join(place.dir('log'), 'worker.log');
  const out = createWriteStream(file, { flags: 'a' });
  const lines = 20_000;
  const writer = spawn(process.execPath, [
    '-e',
    `let n = 0; const go = () => { for (let i = 0; i < 100; i++) console.log('line ' + n++); if (n < ${lines}) setTimeout(go, 5); }; go();`,
  ]);
  writer.stdout.pipe(out);
  const ended = once(out, 'finish');
  let rotations = 0;
  while (!out.writableFinished) {
    rotations += (await rotateLogs(place.config)).length;
    await Promise.race([ended, new Promise((resolve) => setImmediate(resolve))]);
  }
  expect(rotations).toBeGreaterThan(1);
  const names = readdirSync(place.path('log')).sort().toReversed();
  const text = names.map((name) => readFileSync(place.path('log', name), 'utf8')).join('');
  expect(text.trim().split('\n')).toEqual(Array.from({ length: lines }, (_, n) => `line ${n}`));
});

test('where another program looks after the log files, they are left alone', async () => {
  const place = await makePlace({ logs: { max_bytes: null } });
  const file = join(place.dir('log'), 'worker.log');
  writeFileSync(file, 'x'.repeat(KIB));
  expect(await rotateLogs(place.config)).toEqual([]);
  expect(statSync(file).size).toBe(KIB);
});

test('a worker does it by itself', async () => {
  const fleet = await makeFleet({ logs: { max_bytes: 10 * KIB } });
  const file = join(fleet.place.dir('log'), 'gateway.log');
  writeFileSync(file, 'g'.repeat(11 * KIB));
  await fleet.worker();
  await until(() => statSync(file).size === 0, { what: 'the log file to be set aside' });
  expect(readFileSync(`${file}.1`, 'utf8')).toBe('g'.repeat(11 * KIB));
});

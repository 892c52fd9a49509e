import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makePlace } from '../support/place.ts';
import { COMPILE_CACHE, processesWith } from '../support/processes.ts';
import { until } from '../support/until.ts';

const script = join(import.meta.dirname, '../../scripts/demo.ts');

interface Answer {
  datasets: {
    name: string;
    state: string;
    states: string[];
    files: number;
    identical: boolean;
    problems: string[];
    places: Record<'staged' | 'bundle' | 'download' | 'download_bundle', string> & { report: string | null };
  }[];
  left: { name: string; failed: boolean }[];
  untouched: boolean | null;
}

function startDemo(args: string[], as: string[] = []) {
  const [file = '', ...more] = [...as, process.execPath, script, ...args];
  const child = spawn(file, more, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...COMPILE_CACHE },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const seen = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (seen.out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (seen.err += chunk.toString()));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return { child, seen, ended };
}

test('the demo lands its five datasets byte-identical, the growing one last, and leaves no process behind', {
  timeout: 300_000,
}, async () => {
  const place = await makePlace();
  const at = place.path('demo');
  const { seen, ended } = startDemo(['--json', '--no-qc', '--at', at]);
  expect(await ended, seen.err).toBe(0);
  const { datasets } = JSON.parse(seen.out) as Answer;
  expect(datasets.map(({ problems }) => problems).flat()).toEqual([]);
  expect(datasets).toHaveLength(5);
  for (const { states, places, identical } of datasets) {
    expect(identical).toBe(true);
    expect(states).toEqual(['REGISTERED', 'READY', 'ARCHIVED', 'FETCHED', 'STAGED']);
    expect(statSync(places.bundle).size % 512).toBe(0);
    expect(readlinkSync(places.download)).toBe(places.staged);
    expect(existsSync(places.download_bundle)).toBe(true);
  }
  const ends = seen.err.split('\n').filter((line) => line.includes('integrated SUCCESS'));
  expect(ends.at(-1)).toContain('still-being-written');
  expect(seen.err).toMatch(/still-being-written: await stability started/);
  expect(processesWith(at)).toEqual([]);
});

test('a lent directory is landed and left as it was; what cannot land under its name is told and fails the demo', {
  timeout: 300_000,
}, async () => {
  const place = await makePlace();
  const source = place.dir('lent');
  for (const name of ['run 1', 'run_2', 'run-1', '.hidden']) mkdirSync(join(source, name));
  writeFileSync(join(source, 'run 1', 'a\nb'), 'x'.repeat(100_000));
  symlinkSync('nowhere', join(source, 'run_2', 'dangling'));
  symlinkSync('run_2', join(source, 'linked'));
  writeFileSync(join(source, 'notes.txt'), 'beside');
  const { seen, ended } = startDemo(['--json', '--no-qc', '--source', source, '--at', place.path('demo')]);
  expect(await ended, seen.err).toBe(1);
  const { datasets, left, untouched } = JSON.parse(seen.out) as Answer;
  expect(datasets.map(({ name, identical }) => [name, identical])).toEqual([
    ['linked', true],
    ['run-1', true],
    ['run_2', true],
  ]);
  expect(left.map(({ name, failed }) => [name, failed])).toEqual([
    ['.hidden', false],
    ['notes.txt', false],
    ['run-1', true],
  ]);
  expect(untouched).toBe(true);
});

test('a folder that may not be read is told as not proven, and the others land, under whatever name', {
  timeout: 300_000,
}, async ({ skip }) => {
  if (process.getuid?.() !== 0) skip('needs root to become another user');
  const place = await makePlace();
  const source = place.dir('lent');
  for (const name of ['closed', '~', '试验']) mkdirSync(join(source, name));
  writeFileSync(join(source, '试验', 'one byte'), 'x');
  execFileSync('chown', ['-R', '65534:65534', place.folder]);
  chmodSync(place.folder, 0o755);
  chmodSync(join(source, 'closed'), 0o000);
  const args = ['--json', '--no-qc', '--source', source, '--at', place.path('demo'), '--workers', '1'];
  const { seen, ended } = startDemo(args, ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']);
  const code = await ended;
  // The checkout may lie below a folder that only root can enter.
  if (/EACCES.*(demo\.ts|scripts)/.test(seen.err)) skip('another user cannot read this checkout');
  expect(code, seen.err).toBe(1);
  expect(seen.err).toContain('3 folders to land: 1 B in 1 file; they are only read');
  const { datasets, left, untouched } = JSON.parse(seen.out) as Answer;
  expect(datasets.map(({ identical }) => identical)).toEqual([false, true, true]);
  expect(datasets[0]?.problems.join()).toContain('E_INSPECTION');
  expect({ left, untouched }).toEqual({ left: [], untouched: true });
});

test('a worker that is killed is started again, and the datasets land all the same', {
  timeout: 300_000,
}, async () => {
  const place = await makePlace();
  const at = place.path('demo');
  const { seen, ended } = startDemo(['--json', '--no-qc', '--workers', '1', '--at', at]);
  await until(() => seen.err.includes('archive started'), { what: 'an archive step', ms: 90_000 });
  const worker = await until(() => pidOf('workers/worker.ts', at));
  process.kill(worker, 'SIGKILL');
  expect(await ended, seen.err).toBe(0);
  expect(seen.err).toContain('worker-1 ended by SIGKILL; it is started again');
  expect((JSON.parse(seen.out) as Answer).datasets.every(({ identical }) => identical)).toBe(true);
  expect(processesWith(at)).toEqual([]);
});

test.each(['SIGINT', 'SIGKILL'] as const)(
  'a running demo keeps its folder, and one that ends by %s leaves no process behind',
  async (signal) => {
    const place = await makePlace();
    const at = place.path('demo');
    const { child, seen, ended } = startDemo(['--no-qc', '--at', at]);
    await until(() => seen.out.includes('inspect started'), { what: 'a running step', ms: 50_000 });
    const second = startDemo(['--at', at]);
    expect(await second.ended).toBe(2);
    expect(second.seen.err).toContain('a demo runs in');
    child.kill(signal);
    expect(await ended).toBe(signal === 'SIGINT' ? 130 : null);
    await until(() => processesWith(at).length === 0, { what: 'all processes gone' });
  },
);

test('wrong arguments change nothing: no source, a source around the run folder, a folder that is not a demo', async () => {
  const place = await makePlace();
  const mine = place.dir('mine');
  writeFileSync(join(mine, 'file'), 'keep');
  for (const [args, message] of [
    [['--source', place.path('none')], 'is not there'],
    [['--source', mine, '--at', join(mine, 'demo')], 'lie in each other'],
    [['--at', mine], 'was not made by a demo'],
    [['--workers', '0'], 'expected a number from 1 to 64'],
  ] as const) {
    const { seen, ended } = startDemo([...args]);
    expect(await ended).toBe(2);
    expect(seen.err).toContain(message);
  }
  expect(existsSync(join(mine, 'file'))).toBe(true);
  expect(existsSync(join(mine, 'demo'))).toBe(false);
});

function pidOf(entry: string, text: string): number | null {
  const line = processesWith(text, { pids: true }).find((found) => found.includes(entry));
  return line === undefined ? null : Number.parseInt(line, 10);
}

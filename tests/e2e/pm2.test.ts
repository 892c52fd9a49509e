import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { makePlace, type Place } from '../support/place.ts';
import { COMPILE_CACHE, processesWith } from '../support/processes.ts';
import { until } from '../support/until.ts';

const root = join(import.meta.dirname, '../..');
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

/** pm2 as a person calls it, with nothing configured but folders; its own daemon, not the person's. */
function environmentOf(place: Place): NodeJS.ProcessEnv {
  return {
    ...COMPILE_CACHE,
    PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`,
    HOME: place.folder,
    PM2_HOME: place.path('pm2'),
    LONGSHORE_DOTENV: 'none',
    LONGSHORE_HOME: place.path('home'),
    LONGSHORE_OVERRIDES: JSON.stringify({
      registration: {
        recency_threshold_seconds: 0.5,
        wait_between_stability_checks_seconds: 0.5,
        poll_interval_seconds: 0.5,
      },
      workflow_registry: { integrated: { then: [] } },
    }),
  };
}

function dropDataset(place: Place): void {
  const aside = place.dir('aside/run_1');
  writeFileSync(join(aside, 'reads.fastq'), '@r\nACGT\n+\nFFFF\n');
  const source = place.path('home/data/source/raw_data');
  mkdirSync(source, { recursive: true });
  renameSync(aside, join(source, 'run_1'));
}

async function untilStaged(place: Place): Promise<void> {
  const database = place.path('home/longshore.db');
  await until(() => existsSync(database), { what: 'the catalog' });
  const store = await openStore({ ...place.config, catalog: { backend: 'sqlite', path: database } });
  try {
    await until(async () => (await store.catalog.list({})).datasets[0]?.is_staged, {
      ms: 60_000,
      what: 'a staged dataset',
    });
  } finally {
    await store.close();
  }
}

test('pm2 start lands a dataset without any configuration, restarts what is killed, and stops without a trace', {
  timeout: 300_000,
}, async () => {
  const place = await makePlace();
  const env = environmentOf(place);
  const pm2 = (...args: string[]) => spawnSync(bin('pm2'), args, { cwd: root, env, encoding: 'utf8' });
  onTestFinished(() => void pm2('kill'));
  const started = pm2('start', 'ecosystem.config.js');
  expect(started.status, started.stdout + started.stderr).toBe(0);
  const apps = (): {
    name: string;
    pid: number;
    pm2_env: { status: string; restart_time: number; watch: unknown };
  }[] => JSON.parse(pm2('jlist').stdout.replace(/^[^[]*/, '')) as never;
  expect(apps().map(({ name }) => name)).toEqual(['worker', 'watcher', 'redis']);
  for (const { pm2_env } of apps()) expect(pm2_env.watch).toBe(false);

  process.kill(apps().find(({ name }) => name === 'worker')?.pid ?? 0, 'SIGKILL');
  dropDataset(place);
  await untilStaged(place);
  const worker = apps().find(({ name }) => name === 'worker');
  expect(worker?.pm2_env).toMatchObject({ status: 'online', restart_time: 1 });
  expect(readFileSync(place.path('home/log/worker.log'), 'utf8')).toMatch(
    /^\d{4}-\d\d-\d\d \d\d:\d\d [+-]\d\d:\d\d: \{.*worker ready/m,
  );

  pm2('kill');
  await until(() => processesWith(place.folder).length === 0, { what: 'all processes gone' });
});

test('npm start runs in the foreground, refuses to run twice, and an interrupt ends all of it in order: workers first, Redis last', {
  timeout: 300_000,
}, async () => {
  const place = await makePlace();
  // As in package.json.
  const start = [join(root, 'scripts/foreground.ts')];
  const env = environmentOf(place);
  const child = spawn(bin('node'), start, { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] });
  let seen = '';
  child.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()));
  await until(() => seen.includes('worker ready') && seen.includes('watching'), { what: 'the fleet' });
  const second = spawnSync(bin('node'), start, { cwd: root, env, encoding: 'utf8' });
  expect(second).toMatchObject({
    status: 4,
    stderr: expect.stringContaining(`is running already as process ${child.pid}; stop it with Ctrl-C there`),
  });
  const longshore = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, 'scripts/longshore.ts'), ...args], {
      cwd: root,
      env: environmentOf(place),
      encoding: 'utf8',
    });
  const scaled = longshore('scale', '2', '--dry-run', '--json');
  expect(JSON.parse(scaled.stdout), scaled.stderr).toMatchObject({ from: 1, to: 2 });
  const { findings } = JSON.parse(longshore('doctor', '--only', 'host', '--json').stdout) as {
    findings: unknown[];
  };
  expect(findings).toContainEqual(
    expect.objectContaining({
      id: 'host.pm2',
      seen: expect.stringContaining(`its daemon runs (${place.path('pm2')})`),
    }),
  );
  dropDataset(place);
  await untilStaged(place);
  child.kill('SIGINT');
  await until(() => child.exitCode !== null, { what: 'the end of pm2-runtime' });
  expect(child.exitCode, seen).toBe(0);
  const order = [...seen.matchAll(/App \[(\w+):\d\] exited with code \[(\d+)\]/g)];
  expect(order.at(-1)?.[1], seen).toBe('redis');
  expect(order.map(([, , code]) => code)).toEqual(['0', '0', '0']);
  await until(() => processesWith(place.folder).length === 0, { what: 'all processes gone' });
});

test('npm start ends with 78 and says once what is wrong with the configuration or with a folder', async () => {
  const place = await makePlace();
  const start = (env: NodeJS.ProcessEnv) =>
    spawnSync('npm', ['start'], { cwd: root, env: { ...environmentOf(place), ...env }, encoding: 'utf8' });
  const wrong = start({ REDIS_URL: 'nonsense' });
  expect(wrong.status, wrong.stderr).toBe(78);
  expect(wrong.stderr.match(/E_CONFIG/g)).toHaveLength(1);

  // The folder of pm2 is not in the configuration, and not there: its place is taken.
  writeFileSync(place.path('taken'), '');
  const closed = spawnSync(process.execPath, [join(root, 'scripts/foreground.ts')], {
    env: { ...environmentOf(place), PM2_HOME: place.path('taken/pm2') },
    encoding: 'utf8',
  });
  expect(closed).toMatchObject({ status: 78, stderr: expect.stringMatching(/^E_IO: ENOTDIR.*taken\/pm2/) });
});

test('the folder of a pm2 of its own, where it keeps the environment, is closed to others', async () => {
  const place = await makePlace();
  const startable = join(root, 'scripts/foreground/startable.ts');
  const script = `await (await import('${startable}')).mustBeStartable('${place.path('deep/pm2')}')`;
  const env = environmentOf(place);
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { env, encoding: 'utf8' });
  expect(done).toMatchObject({ status: 0, stderr: '' });
  expect(statSync(place.path('deep/pm2')).mode & 0o777).toBe(0o700);
  expect(statSync(place.path('deep')).mode & 0o777).toBe(0o777 & ~process.umask());
});

test('a container starts as npm start does', () => {
  const command = /^CMD (.*)$/m.exec(readFileSync(join(root, 'Dockerfile'), 'utf8'))?.[1] ?? '';
  expect(JSON.parse(command)).toEqual(['node', 'scripts/foreground.ts']);
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  expect(scripts.start).toMatch(/exec node scripts\/foreground\.ts$/);
});

test('with REDIS_URL there is no Redis of its own, and a wrong configuration stops pm2 with all problems', async () => {
  const place = await makePlace();
  const ask = (more: NodeJS.ProcessEnv) =>
    spawnSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `console.log(JSON.stringify((await import('${root}/ecosystem.config.js')).apps))`,
      ],
      { env: { ...environmentOf(place), ...more }, encoding: 'utf8' },
    );
  const apps = JSON.parse(ask({ REDIS_URL: 'redis://127.0.0.1:1', LONGSHORE_WORKERS: '3' }).stdout) as {
    name: string;
    instances?: number;
    interpreter: string;
  }[];
  expect(apps.map(({ name, instances }) => [name, instances])).toEqual([
    ['worker', 3],
    ['watcher', undefined],
  ]);
  expect(apps[0]?.interpreter).toBe(join(root, 'node_modules/.bin/node'));
  const wrong = ask({ APP_ENV: 'production' });
  expect(wrong.status).not.toBe(0);
  expect(wrong.stderr).toContain('ALIAS_SALT');
});

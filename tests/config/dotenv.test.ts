/** Each variable of .env.example does from `.env` what it does from the environment, and beats it. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { readEnvironment } from '../../config/env.ts';
import { loadConfig } from '../../config/index.ts';
import { createLogger } from '../../workers/log.ts';
import { listTasks } from '../../workers/tasks/registry.ts';
import { environmentFor } from '../../workers/tools/environment.ts';
import { startWorker } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

const root = join(import.meta.dirname, '../..');

/** The key of the configuration that each is for, a value, and what comes of it. */
const CONFIGURED: Readonly<Record<string, readonly [key: string, value: string, expected?: unknown]>> = {
  APP_ENV: ['app_env', 'docker'],
  LONGSHORE_HOME: ['state_dir', '/srv/of-the-file'],
  LONGSHORE_OVERRIDES: ['app_id', '{"app_id":"of-the-file"}', 'of-the-file'],
  LONGSHORE_APP_ID: ['app_id', 'of-the-file'],
  LONGSHORE_WORKERS: ['instances.start', '3', 3],
  ALIAS_SALT: ['stage.alias_salt', 'of-the-file'],
  REDIS_URL: ['queue.url', 'redis://of-the-file'],
  QUEUE_USER: ['queue.username', 'of-the-file'],
  QUEUE_PASS: ['queue.password', 'of-the-file'],
  QUEUE_SENTINEL_USER: ['queue.sentinel_username', 'of-the-file'],
  QUEUE_SENTINEL_PASS: ['queue.sentinel_password', 'of-the-file'],
  API_BASE_URL: ['api.base_url', 'https://of-the-file/'],
  APP_API_TOKEN: ['api.auth_token', 'of-the-file'],
  MONGODB_URL: ['mongodb.url', 'mongodb://of-the-file/x'],
  MONGO_HOST: ['mongodb.url', 'of-the-file', expect.stringMatching(/@of-the-file:27017\//)],
  MONGO_PORT: ['mongodb.url', '27018', expect.stringContaining('@host:27018/')],
  MONGO_DB: ['mongodb.database', 'of-the-file'],
  MONGO_AUTH_SOURCE: ['mongodb.url', 'of-the-file', expect.stringContaining('authSource=of-the-file')],
  MONGO_USER: ['mongodb.url', 'of-the-file', expect.stringContaining('//of-the-file:')],
  MONGO_PASS: ['mongodb.url', 'of-the-file', expect.stringContaining(':of-the-file@')],
  LONGSHORE_GATEWAY: ['gateway.enabled', 'true', true],
  GATEWAY_HOST: ['gateway.host', '0.0.0.0'],
  GATEWAY_PORT: ['gateway.port', '6001', 6001],
  GATEWAY_PUBLIC_KEY_FILE: ['gateway.jwt.public_key_file', '/of-the-file'],
  GATEWAY_PRIVATE_KEY_FILE: ['gateway.jwt.private_key_file', '/of-the-file'],
  GATEWAY_ISSUER: ['gateway.jwt.issuer', 'of-the-file'],
};

/** What a process reads beside the configuration; each has a test below. */
const OF_PROCESSES = [
  'LOG_FORMAT',
  'LOG_LEVEL',
  'LONGSHORE_CRASH_AT',
  'LONGSHORE_QUEUE',
  'LONGSHORE_TASKS_PATH',
  'LONGSHORE_WORKER',
  'WORKER_TYPE',
];

test('.env.example has no variable that is not proven here', () => {
  const example =
    readFileSync(join(root, '.env.example'), 'utf8').split('# --- tests and benchmarks')[0] ?? '';
  const documented = [...example.matchAll(/^# ([A-Z][A-Z0-9_]+)=/gm)].map((match) => match[1] ?? '');
  // LONGSHORE_DOTENV says where the file is: tests/config/environment.test.ts.
  const proven = [...Object.keys(CONFIGURED), ...OF_PROCESSES, 'LONGSHORE_DOTENV'];
  expect(documented.toSorted()).toEqual(proven.toSorted());
});

test.each(Object.entries(CONFIGURED))(
  '%s in .env beats the environment, in the configuration',
  async (name, of) => {
    const [key, value, expected = value] = of;
    const { file, place } = await dotenv(`${name}=${value}\n`);
    // Where the parts of a MongoDB count, and the name of a production fleet.
    const parts = { MONGO_HOST: 'host', MONGO_USER: 'user', MONGO_PASS: 'pass' };
    const base = {
      ...(name.startsWith('MONGO_') ? parts : {}),
      ...(name === 'LONGSHORE_APP_ID'
        ? { APP_ENV: 'production', ALIAS_SALT: 's', REDIS_URL: 'redis://h' }
        : {}),
      ...(name === 'LONGSHORE_HOME' ? {} : { LONGSHORE_HOME: place.folder }),
      [name]: name === 'APP_ENV' ? 'test' : '17',
      LONGSHORE_DOTENV: file,
    };
    const { config } = await loadConfig({ environment: readEnvironment({ base }) });
    const found = key.split('.').reduce((at: unknown, part) => (at as Record<string, unknown>)[part], config);
    expect(found).toEqual(expected);
  },
);

async function dotenv(text: string) {
  const place = await makePlace();
  const file = place.path('dotenv');
  writeFileSync(file, text);
  return { place, file };
}

/** This process as one that was started where that .env is. */
async function inPlaceOf(text: string) {
  const { file, place } = await dotenv(text);
  vi.stubEnv('LONGSHORE_DOTENV', file);
  onTestFinished(() => void vi.unstubAllEnvs());
  return place;
}

const node = (code: string, env: NodeJS.ProcessEnv) =>
  spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });

test('LOG_LEVEL and LOG_FORMAT decide how a process logs', async () => {
  await inPlaceOf('LOG_LEVEL=trace\n');
  vi.stubEnv('LOG_LEVEL', 'error');
  expect(createLogger('x').level).toBe('trace');
  const { file } = await dotenv('LOG_FORMAT=pretty\n');
  const speak = `(await import('${root}/workers/log.ts')).createLogger('x').error('spoken')`;
  expect(node(speak, { LONGSHORE_DOTENV: file, LOG_FORMAT: 'json' }).stdout).toMatch(/^\[.*ERROR.*spoken/);
});

test('LONGSHORE_TASKS_PATH brings tasks', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('tasks'), 'of_the_file.ts'), '');
  await inPlaceOf(`LONGSHORE_TASKS_PATH=${place.path('tasks')}\n`);
  vi.stubEnv('LONGSHORE_TASKS_PATH', '/nowhere');
  expect(listTasks()).toContain('of_the_file');
});

test('LONGSHORE_CRASH_AT kills at its point', async () => {
  const { file } = await dotenv('LONGSHORE_CRASH_AT=after-start\n');
  const pass = (point: string) =>
    node(`(await import('${root}/workers/fleet/job/crash-points.ts')).crashPoint('${point}')`, {
      LONGSHORE_DOTENV: file,
      LONGSHORE_CRASH_AT: 'after-claim',
    });
  expect(pass('after-claim')).toMatchObject({ status: 0 });
  expect(pass('after-start')).toMatchObject({ signal: 'SIGKILL' });
});

test('WORKER_TYPE names what a container becomes', async () => {
  const { place, file } = await dotenv('WORKER_TYPE=metrics\n');
  const env = { ...place.env, WORKER_TYPE: 'watch', LONGSHORE_DOTENV: file };
  const dry = await runScript('entrypoint.ts', ['--dry-run', '--json'], env);
  expect(JSON.parse(dry.stdout)).toMatchObject({ type: 'metrics' });
});

test('LONGSHORE_WORKER and LONGSHORE_QUEUE say what a worker serves, unless the command line does or pm2', async () => {
  const { place, file } = await dotenv('LONGSHORE_WORKER=nobody\nLONGSHORE_QUEUE=of.the.file\n');
  const env = { ...place.env, LONGSHORE_DOTENV: file, LONGSHORE_WORKER: 'worker' };
  const dry = async (more: Record<string, string>, ...args: string[]) => {
    const { stdout } = await runScript('start_worker.ts', ['--dry-run', '--json', ...args], {
      ...env,
      ...more,
    });
    return JSON.parse(stdout) as object;
  };
  expect(await dry({})).toMatchObject({ app: 'nobody', queues: [{ queue: 'of.the.file' }] });
  expect(await dry({}, '--app', 'tape', '--queue', 'line.q', '--autoscale', '9,7')).toMatchObject({
    app: 'tape',
    queues: [{ queue: 'line.q', min: 7, max: 9 }],
  });
  expect(await dry({ pm_id: '0' })).toMatchObject({ app: 'worker' });

  writeFileSync(file, 'LONGSHORE_WORKER=nobody\n');
  const worker = startWorker(place, 0, { LONGSHORE_DOTENV: file, LONGSHORE_WORKER: 'worker' });
  expect(await worker.exited).toEqual({ code: 78, signal: null });
  expect(worker.log()).toMatch(/nobody.* is not in config\.workers/);
});

test('pm2 starts as many workers as LONGSHORE_WORKERS says, also where the app has a number of its own', async () => {
  const { place, file } = await dotenv('LONGSHORE_WORKERS=3\n');
  const apps = (more: NodeJS.ProcessEnv) => {
    const code = `console.log(JSON.stringify((await import('${root}/ecosystem.config.js')).apps))`;
    const LONGSHORE_OVERRIDES = JSON.stringify({ workers: { worker: { instances: 2 } } });
    const { stdout } = node(code, { ...place.env, LONGSHORE_OVERRIDES, ...more });
    return (JSON.parse(stdout) as { name: string; instances?: number }[])[0];
  };
  expect(apps({ LONGSHORE_DOTENV: file, LONGSHORE_WORKERS: '5' })).toMatchObject({
    name: 'worker',
    instances: 3,
  });
  expect(apps({ LONGSHORE_WORKERS: '5' })).toMatchObject({ instances: 5 });
  expect(apps({})).toMatchObject({ instances: 2 });
});

test('what stands in .env reaches no program that a task calls', async () => {
  await inPlaceOf('ALIAS_SALT=secret-of-the-file\nAPP_API_TOKEN=secret-of-the-file\nLOG_LEVEL=trace\n');
  createLogger('x');
  await loadConfig();
  expect(JSON.stringify([process.env, environmentFor()])).not.toContain('secret-of-the-file');
});

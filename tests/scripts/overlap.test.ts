/** What changes something runs once at a time on what it acts on: the second ends with 75, has done nothing, and says who is at it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { alone, hostLockOf } from '../../scripts/cli/alone.ts';
import { subjectOf } from '../../scripts/cli/commands/setup-dirs.ts';
import { configuredFolders } from '../../scripts/dirs/folders.ts';
import { enqueueOrTell } from '../../scripts/register/enqueue.ts';
import { registering } from '../../scripts/register/overlap.ts';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { holderOf, withScriptLock } from '../../workers/queue/script-lock.ts';
import { openStore } from '../../workers/store.ts';
import { task } from '../../workers/tasks/verify_upload_integrity.ts';
import { makeContext, type Notes } from '../tasks/context.ts';
import { makeFleet } from '../support/fleet.ts';
import { makePlace, type Place } from '../support/place.ts';
import { runScript, type ScriptResult, startScript } from '../support/script.ts';
import { makeUploads, type UploadPlace } from '../support/uploads.ts';
import { until } from '../support/until.ts';
import { browserHash } from '../uploads/trees.ts';

const log = createLogger('test', {}, { level: 'fatal' });
const FILES = { 'a-b': 'one', 'a/b': 'two' };
const GOOD = { checksum: { manifest_hash: browserHash(FILES) } };
const AWAY = { REDIS_URL: 'redis://127.0.0.1:1' };

const holding = <T>(place: Place, script: string, subjects: string[], body: () => Promise<T>) =>
  withScriptLock(place.config, script, log, body, { subjects });

/** With --json: one object on stdout and nothing else, which says who is at it since when. */
function refusal({ code, stdout }: ScriptResult): unknown {
  expect(code).toBe(75);
  const { error } = JSON.parse(stdout) as { error: { code: string; fields: Record<string, unknown> } };
  expect(error).toMatchObject({ code: 'E_BUSY', hint: expect.stringContaining('Nothing was done') });
  expect(error.fields.since).toMatch(/^2\d{3}-\d\d-\d\dT.*Z$/);
  return error.fields;
}

describe('two registrations of a folder', () => {
  /** The first waits for an API that says nothing. */
  async function setUp() {
    const ground = await makeUploads();
    const { place, api } = ground;
    const folder = place.dir('source', 'run_17');
    api.fail('POST', { kind: 'silent' }, 1);
    const first = startScript('register.ts', [folder, '--dataset-type', 'RAW_DATA'], place.env);
    await until(() => api.calls.some(({ method }) => method === 'POST'), { what: 'the first at work' });
    return { ...ground, folder, first };
  }

  test('the second does nothing, by whatever script; another folder and a dry run are not held up', async () => {
    const { place, api, folder, first } = await setUp();
    const posts = (): number => api.calls.filter(({ method }) => method === 'POST').length;
    const before = posts();
    const busy = { script: 'register', subject: folder, holder: `${hostname()}:${first.pid}` };
    const again = ['--dataset-type', 'RAW_DATA', '--json'];
    expect(refusal(await runScript('register_ondemand.ts', [folder, ...again], place.env))).toMatchObject(
      busy,
    );
    const parent = [place.path('source'), '--ingest-subdirs', ...again];
    expect(refusal(await runScript('register.ts', parent, place.env))).toMatchObject(busy);
    const named = ['other_name', folder, '-r', '--json'];
    expect(refusal(await runScript('register_dataset.ts', named, place.env))).toMatchObject(busy);
    expect(posts()).toBe(before);
    expect((await runScript('register.ts', [folder, ...again, '--dry-run'], place.env)).code).toBe(0);
    const other = place.dir('source', 'run_18');
    expect((await runScript('register.ts', [other, ...again], place.env)).code).toBe(0);
  });

  test('a person is told in words; one that was killed holds nobody up for long', async () => {
    const { place, folder, first } = await setUp();
    const args = [folder, '--dataset-type', 'RAW_DATA'];
    const second = await runScript('register.ts', args, place.env);
    expect(second).toMatchObject({ code: 75, stdout: '' });
    expect(second.stderr).toMatch(
      /^E_BUSY: register of \S+run_17 was not begun: the previous run is still active, as \S+:\d+ since 2\S+Z\nNothing was done\./m,
    );
    first.kill('SIGKILL');
    await first.ended;
    const redis = await connectRedis(place.config, { log });
    onTestFinished(() => redis.disconnect());
    await until(async () => (await holderOf(place.config, redis, 'register', folder)) === null, {
      what: 'the lock to end',
    });
    expect((await runScript('register.ts', args, place.env)).code).toBe(0);
  });

  test('while Redis is away the lock is that of the host', async () => {
    const { place, api } = await makeUploads();
    const folder = place.dir('source', 'run_17');
    const args = [folder, '--dataset-type', 'RAW_DATA', '--json'];
    const holder = await hold(hostLockOf(place.config.state_dir, 'register', folder));
    const env = { ...place.env, ...AWAY };
    expect(refusal(await runScript('register.ts', args, env))).toMatchObject({
      holder: `${hostname()}:${holder.pid}`,
    });
    expect(api.calls.filter(({ method }) => method === 'POST')).toEqual([]);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    expect((await runScript('register.ts', args, env)).code).toBe(0);
    expect(readdirSync(place.path('locks'))).toEqual([]);
  });
});

test('a registration waits for a Redis that is away once: for its lock, and not for the queue again', async () => {
  const { config } = await makePlace();
  const away = { ...config, queue: { ...config.queue, url: 'redis://127.0.0.1:1' } };
  let asked = 0;
  const engine = {
    enqueue: async () => {
      asked += 1;
      return 'added' as const;
    },
  };
  const overlap = { ...registering([]), subjects: ['/x'], wait_seconds: 0.1 };
  const queued = (at: typeof config) =>
    alone({ config: at, log }, overlap, (_, gone) => enqueueOrTell(engine, gone)('id'));
  await expect(queued(away)).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' });
  expect(asked).toBe(0);
  expect(await queued(config)).toBe('added');
});

const module = join(import.meta.dirname, '../../scripts/cli/host-lock.ts');

/** A process that has the lock of this host until it is killed. */
async function hold(file: string): Promise<ChildProcess> {
  const script = `
    const { takeHostLock } = await import(${JSON.stringify(module)});
    console.log(takeHostLock(process.argv[1]) === null ? 'taken' : 'held');
    setInterval(() => undefined, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, file]);
  onTestFinished(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  expect(String(line)).toBe('taken\n');
  return child;
}

test('folders are made once at a time on a host, without any Redis, and a killed run holds nobody up', async () => {
  const place = await makePlace();
  const env = { ...place.env, ...AWAY };
  const { config } = place;
  const holder = await hold(hostLockOf(config.state_dir, 'setup_dirs', subjectOf(configuredFolders(config))));
  for (const [script, ...args] of [['setup_dirs.ts', '--create'], ['init_dirs.ts']] as const)
    expect(refusal(await runScript(script, [...args, '--json'], env))).toMatchObject({
      script: 'setup_dirs',
      holder: `${hostname()}:${holder.pid}`,
    });
  expect(existsSync(place.path('data'))).toBe(false);
  for (const args of [['--json'], ['--create', '--dry-run']])
    expect((await runScript('setup_dirs.ts', args, env)).code).toBe(0);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const done = await runScript('setup_dirs.ts', ['--create', '--json'], env);
  expect(done.code).toBe(0);
  expect(existsSync(config.paths.scratch)).toBe(true);
  expect(readdirSync(place.path('locks'))).toEqual([]);
});

test('a state folder that is missing is told as made, though the lock lies in it', async () => {
  const place = await makePlace();
  const env = { ...place.env, LONGSHORE_HOME: place.path('home') };
  const done = await runScript('setup_dirs.ts', ['--create', '--json'], env);
  const { folders } = JSON.parse(done.stdout) as { folders: { key: string; status: string }[] };
  expect(folders.find(({ key }) => key === 'state_dir')).toMatchObject({ status: 'Created' });
});

test('sample folders are made once at a time in a source', async () => {
  const place = await makePlace();
  const [here, there] = [place.dir('here'), place.dir('there')];
  const run = (...args: string[]) => runScript('create_test_import_datasets.ts', args, place.env);
  const holder = await hold(hostLockOf(place.config.state_dir, 'create_test_import_datasets', there));
  expect(refusal(await run('--source', here, there, '--json'))).toMatchObject({ subject: there });
  expect(readdirSync(here)).toEqual([]);
  expect((await run('--source', here)).code).toBe(0);
  holder.kill('SIGKILL');
});

test('a queue is deleted once at a time; bundles are recorded once at a time', async () => {
  const fleet = await makeFleet();
  const { place, store, engine } = fleet;
  await fleet.start({ a: {} });
  const run = (script: string, ...args: string[]) => runScript(script, [...args, '--json'], place.env);
  const busy = { holder: `${hostname()}:${process.pid}` };
  await holding(place, 'delete_queue', ['longshore-test.q'], async () => {
    expect(refusal(await run('delete_queue.ts', '--yes'))).toMatchObject({
      ...busy,
      subject: 'longshore-test.q',
    });
    expect((await run('delete_queue.ts', '--dry-run')).code).toBe(0);
    expect((await run('longshore.ts', 'delete-queue', '--yes')).code).toBe(75);
  });
  const { jobs } = await engine.fleet();
  expect(Object.values(jobs).reduce((sum, one) => sum + one, 0)).toBe(1);
  expect((await store.records.auditLog({ subject: 'queue:longshore-test.q' })).length).toBe(0);
  await withScriptLock(place.config, 'populate_bundles', log, async () => {
    expect(refusal(await run('populate_bundles.ts'))).toMatchObject({ ...busy, subject: null });
    expect((await run('populate_bundles.ts', '--dry-run')).code).toBe(0);
  });
});

test('a worker that somebody shuts down is told nothing by a second one, who meant it among others too', async () => {
  const fleet = await makeFleet();
  const { place } = fleet;
  const [worker] = [await fleet.worker(), await fleet.worker()];
  const shutdown = (...args: string[]) => runScript('shutdown_worker.ts', [...args, '--json'], place.env);
  const seen = await shutdown('--hostname', 'all', '--dry-run');
  const { workers } = JSON.parse(seen.stdout) as { workers: { worker: string }[] };
  const name = workers.find((one) => one.worker.endsWith(`:${worker.pid}`))?.worker ?? '';
  await holding(place, 'shutdown_worker', [name], async () => {
    expect(refusal(await shutdown('--hostname', 'all', '--immediate'))).toMatchObject({ subject: name });
    const after = await shutdown('--hostname', 'all', '--dry-run');
    expect((JSON.parse(after.stdout) as typeof seen & { workers: unknown[] }).workers).toHaveLength(2);
  });
  // Whoever waits for the end of jobs does not keep another one from ending them at once.
  expect((await shutdown('--hostname', 'all', '--until-gone', '30')).code).toBe(0);
});

describe('the verification of an upload', () => {
  async function attempt({ place }: UploadPlace, id: number, env: Record<string, string> = {}) {
    const { config } = place;
    const store = await openStore({ ...config, catalog: { ...config.catalog, backend: 'sqlite' } });
    onTestFinished(() => store.close());
    for (const [name, value] of Object.entries({ ...place.env, ...env })) vi.stubEnv(name, value);
    onTestFinished(() => void vi.unstubAllEnvs());
    const run = { retries: 3, retries_left: 0, facilityProcess: () => 1 };
    const notes: Notes = { lines: [], tools: [], progress: [], audit: [] };
    return task.run(makeContext({ config, store, id, run, notes }));
  }

  test('by hand does nothing while the worker is at it, and the worker comes to its end', async () => {
    const ground = await makeUploads({}, { read_timeout: 10, delay_scale: 0.001 });
    const { place, api } = ground;
    api.fail('GET', { kind: 'silent' }, 1);
    const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
    const other = ground.upload('other', FILES, { status: 'VERIFYING', metadata: GOOD });
    const tries = ['task-1', '0', '3', '--json'];
    const by_task = startScript(
      'verify_upload_integrity.ts',
      [String(id), ...tries, '--for-task'],
      place.env,
    );
    await until(() => api.calls.length > 0, { what: 'the first at work' });
    const by_hand = await runScript('verify_upload_integrity.ts', [String(id), ...tries], place.env);
    expect(refusal(by_hand)).toMatchObject({
      subject: String(id),
      holder: `${hostname()}:${by_task.pid}`,
    });
    expect(
      (await runScript('verify_upload_integrity.ts', [String(other.id), ...tries], place.env)).code,
    ).toBe(0);
    expect((await by_task.ended).code).toBe(0);
    expect(ground.status(id)).toBe('VERIFIED');
  });

  test('by a worker waits for the one by hand, and uses up no retry', async () => {
    const ground = await makeUploads();
    const { place } = ground;
    const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
    await holding(place, 'verify_upload_integrity', [String(id)], async () => {
      expect(await attempt(ground, id)).toMatchObject({
        postpone: { reason: expect.stringContaining(`still active, as ${hostname()}:${process.pid} since`) },
      });
      expect(ground.status(id)).toBe('VERIFYING');
    });
    expect(await attempt(ground, id)).toEqual([id, { status: 'success', dataset_id: id }]);
  });

  test('by a worker needs no Redis; by hand it refuses to begin without', async () => {
    const ground = await makeUploads();
    const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
    const env = { ...ground.place.env, ...AWAY };
    const by_hand = await runScript('verify_upload_integrity.ts', [String(id), 't', '0', '3', '--json'], env);
    expect(by_hand.code).toBe(5);
    expect(JSON.parse(by_hand.stdout)).toMatchObject({ error: { code: 'E_REDIS_UNAVAILABLE' } });
    expect(await attempt(ground, id, AWAY)).toEqual([id, { status: 'success', dataset_id: id }]);
    expect(ground.status(id)).toBe('VERIFIED');
  });
});

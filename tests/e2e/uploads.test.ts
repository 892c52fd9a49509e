import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { holderOf } from '../../workers/queue/script-lock.ts';
import { openStore } from '../../workers/store.ts';
import { startWorker } from '../support/fleet.ts';
import { runScript, startScript } from '../support/script.ts';
import { until } from '../support/until.ts';
import { ago, makeUploads, type UploadPlace } from '../support/uploads.ts';
import { browserHash, writeTree } from '../uploads/trees.ts';

const FILES = { 'a-b': 'one', 'a/b': 'two', 'a/é': '' };
const GOOD = { checksum: { manifest_hash: browserHash(FILES) } };

/** The API lists only what nobody has touched for half a minute. */
const age = ({ api }: UploadPlace): void => {
  for (const upload of api.store.uploads.values()) upload.updated_at = ago(1);
};

async function manage(ground: UploadPlace, ...args: string[]) {
  age(ground);
  const { place } = ground;
  const done = await runScript('manage_upload_workflows.ts', ['--json', ...args], place.env);
  return { ...done, answer: JSON.parse(done.stdout) as Record<string, unknown> };
}

async function startFleet({ place }: UploadPlace): Promise<void> {
  const worker = startWorker(place, 0, {});
  onTestFinished(async () => {
    worker.kill('SIGKILL');
    await worker.exited;
  });
  await until(() => worker.log().includes('worker ready'), { what: 'the worker to be ready' });
}

const integrated = async ({ place }: UploadPlace, dataset_id: number): Promise<string[]> => {
  const store = await openStore(place.config);
  try {
    const { results } = await store.records.listWorkflows({ dataset_id, name: 'integrated' });
    return results.map(({ workflow }) => workflow.id);
  } finally {
    await store.close();
  }
};

const retry = { delay_seconds: 0.1, tasks: { verify_upload_integrity: { max: 1, delay_seconds: 0.1 } } };

test('an upload goes from UPLOADED to COMPLETE by the scripts and a worker, a damaged one to VERIFICATION_FAILED', async () => {
  const ground = await makeUploads({ workflow: { retry } });
  const good = ground.upload('good', FILES, { metadata: GOOD });
  const bad = ground.upload('bad', { ...FILES, 'a/é': 'more' }, { metadata: GOOD });
  await startFleet(ground);
  expect(await manage(ground)).toMatchObject({ code: 0, answer: { verification_spawned: 2, errors: 0 } });
  await until(() => ground.status(good.id) === 'VERIFIED', { what: 'VERIFIED' });
  await until(() => ground.status(bad.id) === 'VERIFICATION_FAILED', { what: 'VERIFICATION_FAILED' });
  expect(ground.metadata(bad.id)).toMatchObject({
    failure_reason: expect.stringContaining('Manifest hash mismatch'),
    task_id: ground.metadata(bad.id).verification_task_id,
    retries_exhausted: true,
  });
  const task_id = ground.metadata(good.id).verification_task_id;
  const process_id = await until(() => ground.metadata(good.id).worker_process_id, { what: 'its process' });
  const { processes, logs } = ground.api.store;
  expect(processes.get(Number(process_id))).toMatchObject({
    task_id,
    step: 'verify_upload_integrity',
    workflow_id: null,
  });
  const said = () => (logs.get(Number(process_id)) ?? []).map(({ message }) => message).join('');
  await until(() => said().includes('verified by manifest hash: 3 files'), { what: 'its lines' });
  expect(await manage(ground)).toMatchObject({ code: 0, answer: { verified_triggered: 1, errors: 0 } });
  expect(ground.status(good.id)).toBe('COMPLETE');
  expect(ground.api.store.linked(good.id)).toEqual(await integrated(ground, good.id));
  expect(ground.api.store.linked(good.id)).toHaveLength(1);
});

test('killed with SIGKILL after the start and before the PATCH: still one workflow, and COMPLETE by the next run', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('up', FILES, { status: 'VERIFIED', metadata: GOOD });
  ground.api.fail('PATCH datasets/uploads/:id/upload-log', { kind: 'silent' });
  age(ground);
  const script = startScript('manage_upload_workflows.ts', [], ground.place.env);
  await until(() => ground.api.called('PATCH datasets/uploads/:id/upload-log').length > 0, {
    what: 'the PATCH',
  });
  script.kill('SIGKILL');
  await script.ended;
  const started = await integrated(ground, id);
  expect(started).toHaveLength(1);
  expect(ground.status(id)).toBe('VERIFIED');
  ground.api.heal();
  await untilUnlocked(ground);
  expect(await manage(ground)).toMatchObject({ code: 0, answer: { verified_triggered: 1 } });
  expect(await integrated(ground, id)).toEqual(started);
  expect(ground.api.store.linked(id)).toEqual(started);
  expect(ground.status(id)).toBe('COMPLETE');
});

/** The lock of a script that was killed ends by itself; here it is taken away, so as not to wait for that. */
async function untilUnlocked({ place: { config } }: UploadPlace): Promise<void> {
  const redis = await connectRedis(config, { log: createLogger('test') });
  onTestFinished(() => redis.disconnect());
  const script = 'manage_upload_workflows';
  expect(await holderOf(config, redis, script)).not.toBeNull();
  await redis.del(`${config.queue.prefix}:${config.app_id}:script:${script}`);
}

test('a run that finds another at work does nothing, exit 75, and says who holds the lock', async () => {
  const ground = await makeUploads();
  ground.upload('up', FILES);
  age(ground);
  ground.api.fail('GET datasets/uploads/expired', { kind: 'silent' }, 1);
  const first = startScript('manage_upload_workflows.ts', [], ground.place.env);
  await until(() => ground.api.calls.length > 0, { what: 'the first run to be at work' });
  const second = await runScript('manage_upload_workflows.ts', [], ground.place.env);
  expect(second.code).toBe(75);
  expect(second.stderr).toContain('the previous run is still active');
  expect(ground.api.calls).toHaveLength(1);
  first.kill('SIGKILL');
});

test('the purge is a script of its own: dry run, removal, JSON, exit codes', async () => {
  const ground = await makeUploads();
  const { place, root } = ground;
  const { id } = ground.upload('over', FILES, { status: 'COMPLETE' });
  const note = join(place.dir(`data/uploads/uploaded_data/${id}`), `${'a'.repeat(32)}.json`);
  writeFileSync(note, '{}');
  const purge = async (...args: string[]) => runScript('purge_stale_uploaded.ts', args, place.env);
  const dry = await purge('--dry-run', '--json');
  expect(dry.code).toBe(0);
  expect(JSON.parse(dry.stdout)).toMatchObject({
    dry_run: true,
    mirrors: { deleted: 1 },
    roots: [root],
    removed: [note],
  });
  expect(existsSync(note)).toBe(true);
  const done = await purge();
  expect([done.code, existsSync(note)]).toEqual([0, false]);
  expect(done.stdout).toContain(note);
  ground.api.fail('GET datasets/uploads/expired', { kind: 'status', status: 500 });
  expect((await purge()).code).toBe(1);
  expect((await purge('--ttl-days', 'soon')).code).toBe(2);
});

test('the folder of an archived upload goes when the archive has its bundle, and not before', async () => {
  const ground = await makeUploads();
  const { place, api } = ground;
  const [held, missing] = ['held', 'missing'].map((name) => {
    const { id, origin } = ground.upload(name, FILES, { status: 'COMPLETE' });
    const archive_path = place.path('data/archive/2026/raw_data', `${name}.tar`);
    const bundle = { name: `${name}.tar`, size: 4, md5: 'f'.repeat(32) };
    api.store.patch(id, { archive_path, bundle });
    return { origin, archive_path };
  });
  if (held === undefined || missing === undefined) throw new Error('no uploads');
  writeTree(place.path('data/archive'), { '.longshore-archive': '', '2026/raw_data/held.tar': 'tar!' });
  const done = await runScript('purge_stale_uploaded.ts', ['--json'], place.env);
  expect(JSON.parse(done.stdout)).toMatchObject({
    archived: { deleted: 1, skipped: 1, errors: 0 },
    removed: [held.origin],
  });
  expect([held, missing].map(({ origin }) => existsSync(origin))).toEqual([false, true]);
  expect(done.stderr).toContain('E_BUNDLE_MISSING');
});

test.each(['manage_upload_workflows.ts', 'purge_stale_uploaded.ts'])(
  '%s says what it needs where there are no uploads, before it does anything',
  async (script) => {
    const { place } = await makeUploads();
    const { config } = place;
    await (await openStore({ ...config, catalog: { ...config.catalog, backend: 'sqlite' } })).close();
    const off = await runScript(script, ['--json'], { ...place.env, LONGSHORE_OVERRIDES: '{}' });
    expect(off.code).toBe(1);
    expect(JSON.parse(off.stdout)).toMatchObject({
      error: { code: 'E_UPLOADS_OFF', message: expect.stringContaining('catalog.backend is "sqlite"') },
    });
    const help = await runScript(script, ['--help'], place.env);
    expect([help.code, help.stdout.includes('Examples:')]).toEqual([0, true]);
  },
);

import { mkdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { until } from '../support/until.ts';
import { ago } from '../support/uploads.ts';
import { begin, end, FILES, makeManager, NONE } from './manage-uploads.ts';

const verifying = (verification_task_id: string, minutes = 10) => ({
  status: 'VERIFYING',
  metadata: { checksum: { skipped: true }, verification_task_id, verification_started_at: ago(minutes) },
});
const T1 = '11111111-1111-4111-8111-111111111111';

describe('UPLOADED', () => {
  test('becomes VERIFYING with its task id before that is queued, old metadata kept, in one PATCH', async () => {
    const { upload, api, manage, metadata, status, engine, records } = await makeManager();
    const { id } = upload('up', FILES, { metadata: { checksum: { skipped: true } } });
    let before: unknown = null;
    const start: typeof engine.start = (...args) => {
      before = metadata(id).verification_task_id;
      return engine.start(...args);
    };
    const { counts } = await manage({ engine: { ...engine, start } });
    expect(counts).toEqual({ ...NONE, verification_spawned: 1 });
    expect(status(id)).toBe('VERIFYING');
    expect(metadata(id)).toEqual({
      checksum: { skipped: true },
      verification_task_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      verification_started_at: expect.stringMatching(/Z$/),
    });
    const task_id = String(metadata(id).verification_task_id);
    expect(before).toBe(task_id);
    expect(api.called('PATCH datasets/uploads/:id/upload-log')).toHaveLength(1);
    const workflow = await records.workflow(task_id);
    // The facility's pages list the workflows of a dataset: this is none of them.
    expect(workflow).toMatchObject({ dataset_id: null, args: [id] });
    expect(workflow?.steps).toMatchObject([{ task: 'verify_upload_integrity', next_task_id: task_id }]);
    expect((await engine.fleet()).jobs).toMatchObject({ prioritized: 1 });
  });

  test('killed before it was queued: the next run queues the same id, once', async () => {
    const { upload, api, manage, metadata, engine, records } = await makeManager();
    const { id } = upload('up', FILES);
    const dead: typeof engine.start = async () => {
      throw new Error('killed');
    };
    expect((await manage({ engine: { ...engine, start: dead } })).counts).toEqual({ ...NONE, errors: 1 });
    const task_id = String(metadata(id).verification_task_id);
    expect(await records.workflow(task_id)).toBeNull();
    for (let run = 0; run < 3; run++) {
      Object.assign(api.store.uploads.get(id) ?? {}, { updated_at: ago(1) });
      await manage();
    }
    const { results } = await records.listWorkflows({ name: 'verify_upload' });
    expect(results.map(({ workflow }) => workflow.id)).toEqual([task_id]);
    expect((await engine.fleet()).jobs).toMatchObject({ prioritized: 1 });
  });
});

describe('VERIFYING', () => {
  test('without a task id waits for five minutes, then is verified anew', async () => {
    const { upload, manage, status, metadata } = await makeManager();
    const young = upload('young', FILES, { status: 'VERIFYING', minutes: 4 });
    const old = upload('old', FILES, { status: 'VERIFYING', minutes: 6 });
    expect((await manage()).counts).toEqual({ ...NONE, verification_spawned: 1 });
    expect(metadata(young.id)).toEqual({});
    expect(status(old.id)).toBe('VERIFYING');
    expect(metadata(old.id).verification_task_id).toBeDefined();
  });

  test('with a task that waits or runs is left alone, far beyond four hours too', async () => {
    const { upload, manage, engine, records, status } = await makeManager();
    upload('up', FILES);
    await manage();
    const [{ workflow } = { workflow: null }] = (await records.listWorkflows({})).results;
    if (workflow === null) throw new Error('no verification');
    const seen = upload('slow', FILES, verifying(workflow.id, 20 * 60));
    for (const step of [async () => undefined, () => begin(records, workflow.id)]) {
      await step();
      expect((await manage()).counts).toEqual(NONE);
    }
    expect(status(seen.id)).toBe('VERIFYING');
    await engine.pause(workflow.id, { actor: 'ann' });
    expect((await manage()).counts).toEqual(NONE);
  });

  test('whose task has succeeded becomes VERIFIED', async () => {
    const { upload, manage, engine, records, status } = await makeManager();
    const { id } = upload('up', FILES, verifying(T1));
    await manage(); // Queues the id that it was promised.
    await end(records, await begin(records, T1));
    expect((await manage()).counts).toEqual({ ...NONE, verified_triggered: 1 });
    expect(status(id)).toBe('VERIFIED');
    expect((await engine.show(T1)).status).toBe('SUCCESS');
  });

  test('whose task has failed becomes VERIFICATION_FAILED with its reason, and who is configured is told', async () => {
    const notify = { role_ids: [3], user_ids: [] };
    const { upload, manage, records, status, metadata, api } = await makeManager({
      enabled_features: { notifications: true },
      uploads: { notify },
    });
    const { id } = upload('up', FILES, verifying(T1));
    await manage();
    await end(records, await begin(records, T1), 'E_UPLOAD_INTEGRITY: Manifest hash mismatch');
    expect((await manage()).counts).toEqual({ ...NONE, verification_failed: 1 });
    expect(status(id)).toBe('VERIFICATION_FAILED');
    expect(metadata(id)).toMatchObject({
      failure_reason: 'E_SUBPROCESS: E_UPLOAD_INTEGRITY: Manifest hash mismatch',
      task_id: T1,
      failed_at: expect.stringMatching(/Z$/),
    });
    expect(api.store.notifications).toEqual([
      expect.objectContaining({ label: 'Upload of up failed', role_ids: [3], user_ids: [] }),
    ]);
  });

  test.each([
    { status: 'VERIFIED' },
    { status: 'VERIFYING', metadata: { verification_task_id: 'of another verification' } },
  ])('that has gone on while it was looked at is left as it is: %o', async (change) => {
    const { upload, manage, records, uploads, status, api } = await makeManager();
    const { id } = upload('up', FILES, verifying(T1));
    await manage();
    await end(records, await begin(records, T1), 'too late');
    let looks = 0;
    const log: typeof uploads.log = async (dataset_id) => {
      if (++looks === 2) Object.assign(api.store.uploads.get(id) ?? {}, change);
      return uploads.log(dataset_id);
    };
    expect((await manage({ uploads: { ...uploads, log } })).counts).toEqual(NONE);
    expect(status(id)).toBe(change.status);
  });

  test('whose task was taken out becomes VERIFICATION_FAILED', async () => {
    const { upload, manage, engine, status } = await makeManager();
    const { id } = upload('up', FILES, verifying(T1));
    await manage();
    await engine.revoke(T1, { actor: 'ann' });
    expect((await manage()).counts).toEqual({ ...NONE, verification_failed: 1 });
    expect(status(id)).toBe('VERIFICATION_FAILED');
  });

  test('whose task was resumed after its failure waits for it', async () => {
    const { upload, manage, engine, records, status } = await makeManager();
    const { id } = upload('up', FILES, verifying(T1));
    await manage();
    await end(records, await begin(records, T1), 'no mount');
    await engine.resume(T1, { actor: 'ann' });
    expect((await manage()).counts).toEqual(NONE);
    expect(status(id)).toBe('VERIFYING');
  });

  test.each([
    ['its start', verifying(T1, 241)],
    [
      'the date of its log, which ends in Z',
      { status: 'VERIFYING', metadata: { verification_task_id: T1 }, minutes: 241 },
    ],
  ])('that nobody works on for four hours fails by timeout, counted from %s', async (_, given) => {
    const { upload, manage, status, metadata } = await makeManager();
    const { id } = upload('up', FILES, given);
    expect((await manage()).counts).toEqual({ ...NONE, verification_failed: 1 });
    expect(status(id)).toBe('VERIFICATION_FAILED');
    expect(metadata(id).failure_reason).toContain('timeout');
  });

  test('is rejected by nobody while the upload root is empty', async () => {
    const { upload, manage, records, status, place, root } = await makeManager();
    const { id } = upload('up', FILES, verifying(T1));
    await manage();
    await end(records, await begin(records, T1), 'its origin is not there');
    renameSync(root, place.path('away'));
    mkdirSync(root);
    expect((await manage()).counts).toEqual({ ...NONE, errors: 1 });
    expect(status(id)).toBe('VERIFYING');
  });

  test('beyond all limits of its task fails, and the task is taken out: it cannot say VERIFIED afterwards', async () => {
    const { upload, manage, engine, records, status, api } = await makeManager();
    const { id } = upload('up', FILES, verifying(T1));
    await manage();
    await begin(records, T1);
    const days = 5 * 24 * 60;
    Object.assign(api.store.uploads.get(id) ?? {}, verifying(T1, days), { updated_at: ago(days) });
    expect((await manage()).counts).toEqual({ ...NONE, verification_failed: 1 });
    expect(status(id)).toBe('VERIFICATION_FAILED');
    expect((await engine.show(T1)).status).toBe('REVOKED');
  });
});

describe('UPLOADING', () => {
  const old = { status: 'UPLOADING', minutes: 361 };

  test('of which nothing has arrived for six hours is UPLOAD_FAILED with the reason', async () => {
    const { upload, manage, status, metadata } = await makeManager({
      uploads: { stale_uploading_hours: 0.000_01 },
    });
    const { id } = upload('up', FILES, old);
    const made = Date.now();
    await until(() => Date.now() > made + 100);
    expect((await manage()).counts).toEqual({ ...NONE, stale_uploading_failed: 1 });
    expect(status(id)).toBe('UPLOAD_FAILED');
    expect(metadata(id).failure_reason).toContain('nothing of it has arrived');
  });

  test('whose bytes still arrive is not failed, however slow it is', async () => {
    const { upload, manage, status, root } = await makeManager();
    const { id, origin } = upload('up', FILES, old);
    upload('young', FILES, { status: 'UPLOADING', minutes: 359 });
    const { rows, counts } = await manage();
    expect(counts).toEqual(NONE);
    expect(rows).toMatchObject([{ dataset_id: id, action: 'wait', note: 'its bytes still arrive' }]);
    expect(status(id)).toBe('UPLOADING');
    const staged = join(root, 'f'.repeat(32));
    writeFileSync(staged, 'x');
    writeFileSync(`${staged}.json`, JSON.stringify({ metadata: { dataset_id: String(id) } }));
    utimesSync(join(origin, 'a-b'), 1, 1);
    expect((await manage()).counts).toEqual(NONE);
  });

  test('is not failed while the upload root is empty or not there', async () => {
    const { upload, manage, status, place, root } = await makeManager();
    const { id } = upload('up', FILES, old);
    renameSync(root, place.path('away'));
    for (const remount of [() => undefined, () => mkdirSync(root)]) {
      remount();
      const { counts, rows } = await manage();
      expect(counts).toEqual({ ...NONE, errors: 1 });
      expect(rows[0]?.note).toContain(`the upload root ${root} is empty or not there`);
      expect(status(id)).toBe('UPLOADING');
    }
  });
});

test('one kind of uploads that cannot be listed, and one upload that fails, do not stop the others', async () => {
  const { upload, manage, status, api } = await makeManager();
  const broken = upload('broken', FILES);
  const good = upload('good', FILES, { status: 'VERIFIED' });
  const retried = upload('retried', FILES, { status: 'PROCESSING_FAILED' });
  api.fail('GET datasets/uploads/expired', { kind: 'status', status: 500 });
  api.fail('PATCH datasets/uploads/:id/upload-log', { kind: 'status', status: 500 }, 1);
  const { counts, rows } = await manage();
  expect(counts).toEqual({ ...NONE, errors: 2, verified_triggered: 1, failed_retried: 1 });
  expect([broken, good, retried].map(({ id }) => status(id))).toEqual(['UPLOADED', 'COMPLETE', 'COMPLETE']);
  expect(rows[0]).toMatchObject({
    dataset_id: broken.id,
    action: 'error',
    note: expect.stringContaining('E_API_FAILED'),
  });
});

test('a dry run tells what would be done, and changes nothing', async () => {
  const { upload, manage, api, engine } = await makeManager();
  upload('a', FILES);
  upload('b', FILES, { status: 'VERIFIED' });
  upload('c', FILES, { status: 'PROCESSING_FAILED', retry_count: 3 });
  upload('d', FILES, verifying(T1, 300));
  const before = structuredClone([...api.store.uploads.values()]);
  const { counts } = await manage({ dry_run: true });
  expect(counts).toEqual({
    ...NONE,
    verification_spawned: 1,
    verified_triggered: 1,
    permanently_failed: 1,
    verification_failed: 1,
  });
  expect([...api.store.uploads.values()]).toEqual(before);
  expect(api.calls.every(({ method }) => method === 'GET')).toBe(true);
  expect((await engine.list({})).metadata.total).toBe(0);
});

import { mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runScript } from '../support/script.ts';
import { makeUploads, type UploadPlace } from '../support/uploads.ts';
import { AWKWARD, browserHash, browserSizes } from '../uploads/trees.ts';

const FILES = { 'a-b': 'one', 'a/b': 'two' };
const GOOD = { checksum: { manifest_hash: browserHash(FILES) } };
const BAD = { checksum: { manifest_hash: browserHash(AWKWARD) }, note: 'kept' };

const verify = ({ place }: UploadPlace, id: number, ...tries: [number, number]) =>
  runScript('verify_upload_integrity.ts', [String(id), 'task-1', ...tries.map(String), '--json'], place.env);

test('an upload that is as the browser sent it is VERIFIED, exit 0', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  const done = await verify(ground, id, 0, 3);
  expect(done.code).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({
    status: 'VERIFIED',
    by: 'manifest hash',
    files: 2,
    bytes: 6,
  });
  expect(ground.status(id)).toBe('VERIFIED');
  expect(ground.metadata(id)).toEqual(GOOD);
});

test('what is VERIFIED or COMPLETE already is not read again, and stays as it is', async () => {
  const ground = await makeUploads();
  for (const status of ['VERIFIED', 'COMPLETE']) {
    const { id } = ground.upload(status.toLowerCase(), FILES, { status, metadata: BAD });
    expect((await verify(ground, id, 0, 3)).code).toBe(0);
    expect(ground.status(id)).toBe(status);
  }
  expect(ground.api.called('PATCH datasets/uploads/:id/upload-log')).toEqual([]);
});

describe('an upload that differs', () => {
  test('leaves the status to the next try, exit 1, until the last one', async () => {
    const ground = await makeUploads();
    const { id } = ground.upload('bad', FILES, { status: 'VERIFYING', metadata: BAD });
    const done = await verify(ground, id, 2, 3);
    expect(done.code).toBe(1);
    expect(JSON.parse(done.stdout)).toMatchObject({
      error: { code: 'E_UPLOAD_INTEGRITY', message: expect.stringContaining('Manifest hash mismatch') },
    });
    expect(ground.status(id)).toBe('VERIFYING');
    expect(ground.metadata(id)).toEqual(BAD);
  });

  test('is VERIFICATION_FAILED after the last try, with reason, task and date; nobody is told unless asked for', async () => {
    const ground = await makeUploads();
    const { id } = ground.upload('bad', FILES, { status: 'VERIFYING', metadata: BAD });
    expect((await verify(ground, id, 3, 3)).code).toBe(1);
    expect(ground.status(id)).toBe('VERIFICATION_FAILED');
    expect(ground.metadata(id)).toEqual({
      ...BAD,
      failure_reason: expect.stringMatching(/^E_UPLOAD_INTEGRITY: Manifest hash mismatch: /),
      task_id: 'task-1',
      failed_at: expect.stringMatching(/^2\d{3}-.*Z$/),
      retries_exhausted: true,
    });
    expect(ground.api.store.dataset(id)).toMatchObject({ is_deleted: true, name: `bad--${id}` });
    expect(ground.api.store.notifications).toEqual([]);
  });

  test('is told to whom the configuration names, in the shape that the API takes', async () => {
    const notify = { role_ids: [1], user_ids: [5, 6] };
    const ground = await makeUploads({ enabled_features: { notifications: true }, uploads: { notify } });
    const manifest = { ...browserSizes(FILES), total_size: 1 };
    const { id } = ground.upload('bad', FILES, {
      status: 'VERIFYING',
      metadata: { size_manifest: manifest },
    });
    expect((await verify(ground, id, 0, 0)).code).toBe(1);
    expect(ground.api.store.notifications).toEqual([
      expect.objectContaining({
        label: 'Upload of bad could not be verified',
        text: expect.stringContaining('Size mismatch'),
        ...notify,
      }),
    ]);
  });

  test('with notifications on and nobody to notify, the failure is recorded and that is warned of', async () => {
    const ground = await makeUploads({ enabled_features: { notifications: true } });
    const { id } = ground.upload('bad', {}, { status: 'VERIFYING' });
    const done = await verify(ground, id, 0, 0);
    expect(ground.status(id)).toBe('VERIFICATION_FAILED');
    expect(ground.metadata(id).failure_reason).toContain('No files found');
    expect(done.stderr).toContain('config.uploads.notify names no role and no user');
    expect(ground.api.called('POST notifications')).toEqual([]);
  });
});

test('a dry run compares and changes nothing, whatever comes out', async () => {
  const ground = await makeUploads();
  const uploads = [GOOD, BAD].map((metadata, at) =>
    ground.upload(`up-${at}`, FILES, { status: 'VERIFYING', metadata }),
  );
  const runs = uploads.map(({ id }) =>
    runScript('verify_upload_integrity.ts', [String(id), 'by-hand', '3', '3', '--dry-run'], ground.place.env),
  );
  const [good, bad] = await Promise.all(runs);
  expect([good?.code, bad?.code]).toEqual([0, 1]);
  expect(good?.stdout).toContain('verified by manifest hash');
  expect(bad?.stderr).toContain('Manifest hash mismatch');
  expect(ground.api.called('PATCH datasets/uploads/:id/upload-log')).toEqual([]);
});

test('an origin path that is missing is VERIFICATION_FAILED after the last try', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('lost', FILES, { status: 'VERIFYING' });
  ground.api.store.dataset(id).origin_path = join(ground.root, 'raw_data/nowhere');
  expect((await verify(ground, id, 3, 3)).code).toBe(1);
  expect(ground.metadata(id).failure_reason).toMatch(/^E_ORIGIN_MISSING: /);
});

test('an upload root that is not mounted fails no upload, also in the last try', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  renameSync(ground.root, ground.place.path('away'));
  mkdirSync(ground.root);
  const done = await verify(ground, id, 3, 3);
  expect(done.code).toBe(1);
  expect(JSON.parse(done.stdout)).toMatchObject({ error: { code: 'E_ORIGIN_MISSING' } });
  expect(ground.status(id)).toBe('VERIFYING');
});

test('an upload that was given up meanwhile is not brought back', async () => {
  const ground = await makeUploads();
  for (const status of ['UPLOADING', 'VERIFICATION_FAILED', 'PERMANENTLY_FAILED']) {
    const { id } = ground.upload(status.toLowerCase(), FILES, { status, metadata: GOOD });
    const done = await verify(ground, id, 3, 3);
    expect(done.code).toBe(4);
    expect(JSON.parse(done.stdout)).toMatchObject({ error: { code: 'E_UPLOAD_STATE' } });
    expect(ground.status(id)).toBe(status);
  }
});

test('an API that is away decides nothing, also in the last try: exit 5', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  ground.api.fail('PATCH', { kind: 'status', status: 500 });
  expect((await verify(ground, id, 3, 3)).code).toBe(5);
  expect(ground.status(id)).toBe('VERIFYING');
});

test('files of others are not read by way of a link', async () => {
  const ground = await makeUploads();
  const { id, origin } = ground.upload('links', FILES, { status: 'VERIFYING' });
  symlinkSync('/etc/hostname', join(origin, 'mine'));
  const done = await verify(ground, id, 0, 3);
  expect(done.code).toBe(1);
  expect(JSON.parse(done.stdout)).toMatchObject({
    error: { message: expect.stringContaining('"mine" is a symbolic link') },
  });
  expect(ground.status(id)).toBe('VERIFYING');
});

test('a dataset that was not uploaded, wrong arguments, and a site without uploads have their exit codes', async () => {
  const ground = await makeUploads();
  expect((await verify(ground, 99, 0, 3)).code).toBe(3);
  const run = (args: string[], env: Record<string, string>) =>
    runScript('verify_upload_integrity.ts', args, env);
  expect((await run(['seven', 'task-1', '0', '3'], ground.place.env)).code).toBe(2);
  expect((await run(['7'], ground.place.env)).code).toBe(2);
  const off = await run(['7', 'task-1', '0', '3'], { ...ground.place.env, LONGSHORE_OVERRIDES: '{}' });
  expect(off.code).toBe(1);
  expect(off.stderr).toContain('E_UPLOADS_OFF: there are no uploads: catalog.backend is "sqlite"');
});

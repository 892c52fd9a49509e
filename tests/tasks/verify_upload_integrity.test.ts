import { mkdirSync, renameSync } from 'node:fs';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { limitsOf } from '../../workers/fleet/isolation/task-limits.ts';
import { retryOf } from '../../workers/fleet/job/retry-policy.ts';
import { openStore } from '../../workers/store.ts';
import { isPostponement } from '../../workers/tasks/contract.ts';
import { task } from '../../workers/tasks/verify_upload_integrity.ts';
import { makeUploads, type UploadPlace } from '../support/uploads.ts';
import { AWKWARD, browserHash } from '../uploads/trees.ts';
import { makeContext, type Notes, type RunOptions } from './context.ts';

const FILES = { 'a-b': 'one', 'a/b': 'two' };
const GOOD = { checksum: { manifest_hash: browserHash(FILES) } };
const BAD = { checksum: { manifest_hash: browserHash(AWKWARD) } };

async function attempt({ place }: UploadPlace, id: number, given: RunOptions, told = true) {
  const { config } = place;
  const store = await openStore({ ...config, catalog: { ...config.catalog, backend: 'sqlite' } });
  onTestFinished(() => store.close());
  // The script reads its configuration from the environment, as on a host of the facility.
  for (const [name, value] of Object.entries(place.env)) vi.stubEnv(name, value);
  onTestFinished(() => void vi.unstubAllEnvs());
  // The API has told its process by another id than the records.
  const run = { ...given, facilityProcess: (process_id: number) => (told ? 4710 + process_id : null) };
  const notes: Notes = { lines: [], tools: [], progress: [], audit: [] };
  const outcome = task.run(makeContext({ config, store, id, run, notes }));
  return { notes, outcome };
}

test('a good upload is VERIFIED; what the script said is logged, and its process stands in the upload', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  const { notes, outcome } = await attempt(ground, id, { task_id: 'task-1', retries: 1, retries_left: 2 });
  expect(await outcome).toEqual([id, { status: 'success', dataset_id: id }]);
  expect(notes.tools[0]?.slice(2)).toEqual([String(id), 'task-1', '1', '3', '--for-task']);
  expect(notes.lines.map(({ message }) => message).join('\n')).toContain(
    'verified by manifest hash: 2 files',
  );
  expect(ground.status(id)).toBe('VERIFIED');
  expect(ground.metadata(id)).toEqual({ ...GOOD, worker_process_id: 4711 });
});

describe('an upload that differs', () => {
  test.each<[string, RunOptions, string]>([
    ['is tried again', { retries: 0, retries_left: 3 }, 'VERIFYING'],
    ['has failed after the last try', { retries: 3, retries_left: 0 }, 'VERIFICATION_FAILED'],
  ])('%s, with the reason in the error and its process in the upload', async (_, run, status) => {
    const ground = await makeUploads();
    const { id } = ground.upload('bad', FILES, { status: 'VERIFYING', metadata: BAD });
    const { outcome } = await attempt(ground, id, run);
    await expect(outcome).rejects.toMatchObject({
      code: 'E_SUBPROCESS',
      class: 'retryable',
      message: expect.stringMatching(/^E_UPLOAD_INTEGRITY: Manifest hash mismatch/),
    });
    expect(ground.status(id)).toBe(status);
    expect(ground.metadata(id)).toMatchObject({ worker_process_id: 4711 });
  });
});

test('a process that cannot be recorded in the upload is a warning, and the upload is verified all the same', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFIED', metadata: GOOD });
  ground.api.fail('PATCH', { kind: 'status', status: 500 });
  const { outcome } = await attempt(ground, id, {});
  expect(await outcome).toEqual([id, { status: 'success', dataset_id: id }]);
  expect(ground.metadata(id)).toEqual(GOOD);
});

test('a process that the API has not taken in time is not waited for any longer', async () => {
  const ground = await makeUploads({}, { delay_scale: 0.01 });
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  const { outcome } = await attempt(ground, id, {}, false);
  expect(await outcome).toEqual([id, { status: 'success', dataset_id: id }]);
  expect(ground.status(id)).toBe('VERIFIED');
  expect(ground.metadata(id)).toEqual(GOOD);
});

test.each(['GET', 'PATCH'])('an API that fails at %s postpones it and uses up no retry', async (method) => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  ground.api.fail(method, { kind: 'html' });
  const { outcome } = await attempt(ground, id, { retries: 3, retries_left: 0 });
  expect(isPostponement(await outcome)).toBe(true);
  expect(ground.status(id)).toBe('VERIFYING');
});

test('an upload root that is not mounted postpones it and uses up no retry', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  renameSync(ground.root, ground.place.path('away'));
  mkdirSync(ground.root);
  const { notes, outcome } = await attempt(ground, id, { retries: 3, retries_left: 0 });
  expect(await outcome).toMatchObject({ postpone: { reason: expect.stringContaining('is empty') } });
  expect(notes.tools).toEqual([]);
  expect(ground.status(id)).toBe('VERIFYING');
});

test('a lost lease verifies nothing', async () => {
  const ground = await makeUploads();
  const { id } = ground.upload('good', FILES, { status: 'VERIFYING', metadata: GOOD });
  const lease = (): void => {
    throw new Error('lost');
  };
  const { notes, outcome } = await attempt(ground, id, { lease });
  await expect(outcome).rejects.toThrow('lost');
  expect(notes.tools).toEqual([]);
});

test('its limits: half a day, then a day; three retries, a minute apart', async () => {
  const { config } = (await makeUploads()).place;
  expect(limitsOf(config, 'verify_upload_integrity', task.limits ?? {})).toMatchObject({
    time_limit_seconds: 86_400,
    soft_time_limit_seconds: 43_200,
  });
  expect(retryOf(config, 'verify_upload_integrity', task.retry ?? {})).toEqual({ max: 3, delay_seconds: 60 });
});

import { describe, expect, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { begin, end, FILES, makeManager, NONE } from './manage-uploads.ts';

describe('VERIFIED', () => {
  test('gets the workflow that lands it, and becomes COMPLETE with it in one PATCH', async () => {
    const { upload, manage, engine, status, api, workflows } = await makeManager();
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    expect((await manage()).counts).toEqual({ ...NONE, verified_triggered: 1 });
    const [workflow, ...others] = await workflows(id, 'integrated');
    expect(others).toEqual([]);
    expect(workflow).toMatchObject({ args: [id], dataset_id: id, initiator: 'manage_upload_workflows' });
    expect(status(id)).toBe('COMPLETE');
    expect(api.store.linked(id)).toEqual([workflow?.id]);
    const patches = api.called('PATCH datasets/uploads/:id/upload-log').map(({ body }) => body);
    expect(patches).toEqual([{ status: 'COMPLETE', workflow_id: workflow?.id }]);
    expect((await engine.fleet()).jobs).toMatchObject({ prioritized: 1 });
  });

  test('with an integrated workflow linked, whatever became of it and whoever started it, is COMPLETE', async () => {
    const { upload, manage, engine, records, status, api, workflows } = await makeManager();
    const ours = upload('ours', FILES, { status: 'VERIFIED' });
    const started = await engine.start('integrated', { dataset_id: ours.id, initiator: 'ann' });
    await end(records, await begin(records, started.id), 'broken');
    api.store.link(started.id, ours.id);
    const theirs = upload('theirs', FILES, { status: 'VERIFIED' });
    for (const [id, name] of [
      ['old-1', 'stage'],
      ['old-2', 'integrated'],
    ] as const) {
      api.store.link(id, theirs.id);
      api.behaviour.served.set(id, { id, name, created_at: '', updated_at: null });
    }
    expect((await manage()).counts).toEqual({ ...NONE, verified_triggered: 2 });
    expect([status(ours.id), status(theirs.id)]).toEqual(['COMPLETE', 'COMPLETE']);
    expect(await workflows(ours.id, 'integrated')).toHaveLength(1);
    expect(await workflows(theirs.id, 'integrated')).toEqual([]);
  });

  test('whose linked workflow was deleted everywhere is landed by a new one', async () => {
    const { upload, manage, engine, status, api, workflows } = await makeManager();
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    const deleted = await engine.start('integrated', { dataset_id: id, initiator: 'ann' });
    api.store.link(deleted.id, id);
    await engine.delete(deleted.id, { actor: 'ann' });
    expect((await manage()).counts).toEqual({ ...NONE, verified_triggered: 1 });
    expect(status(id)).toBe('COMPLETE');
    const [landing, ...others] = await workflows(id, 'integrated');
    expect(others).toEqual([]);
    expect(api.store.linked(id)).toEqual([deleted.id, landing?.id]);
  });

  test('starts nothing while the workflow server cannot say what is linked', async () => {
    const { upload, manage, status, api, workflows } = await makeManager();
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    api.store.link('of-the-reference', id);
    api.behaviour.workflowServer = false;
    expect((await manage()).counts).toEqual({ ...NONE, errors: 1 });
    expect(status(id)).toBe('VERIFIED');
    expect(await workflows(id, 'integrated')).toEqual([]);
  });

  test('killed after the start and before the PATCH it gets no second workflow', async () => {
    const { upload, manage, uploads, engine, status, api, workflows } = await makeManager();
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    const patch: typeof uploads.patch = async () => {
      throw new LongshoreError('E_API_UNAVAILABLE', 'killed');
    };
    for (let run = 0; run < 2; run++)
      expect((await manage({ uploads: { ...uploads, patch } })).counts).toEqual({ ...NONE, errors: 1 });
    const [first] = await workflows(id, 'integrated');
    // It may even have ended by the time somebody looks again.
    await engine.revoke(first?.id ?? '', { actor: 'ann' });
    expect((await manage()).counts).toEqual({ ...NONE, verified_triggered: 1 });
    expect((await workflows(id, 'integrated')).map((one) => one.id)).toEqual([first?.id]);
    expect(api.store.linked(id)).toEqual([first?.id]);
    expect(status(id)).toBe('COMPLETE');
  });

  test('killed before its workflow was queued, the next run queues it', async () => {
    const { upload, manage, records, config, engine } = await makeManager();
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    const start = { dataset_id: id, initiator: 'manage_upload_workflows' };
    await records.createWorkflow(buildWorkflow(config, 'integrated', start), { alone: true });
    await manage();
    expect((await engine.fleet()).jobs).toMatchObject({ prioritized: 1 });
  });

  test.each(['commit-then-drop', 'drop'] as const)(
    'a PATCH that meets "%s" links one workflow',
    async (kind) => {
      const { upload, manage, status, api, workflows } = await makeManager();
      const { id } = upload('up', FILES, { status: 'VERIFIED' });
      api.fail('PATCH', { kind }, 1);
      expect((await manage()).counts).toEqual({ ...NONE, verified_triggered: 1 });
      expect((await manage()).counts).toEqual(NONE);
      const [workflow, ...others] = await workflows(id, 'integrated');
      expect(others).toEqual([]);
      expect(api.store.linked(id)).toEqual([workflow?.id]);
      expect(status(id)).toBe('COMPLETE');
    },
  );

  test('is not COMPLETE without its workflow, whatever the API failed with', async () => {
    const { upload, manage, status, api } = await makeManager();
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    api.fail('PATCH', { kind: 'status', status: 500 }, 1);
    expect((await manage()).counts).toEqual({ ...NONE, errors: 1 });
    expect([status(id), api.store.linked(id)]).toEqual(['VERIFIED', []]);
  });

  test('stays VERIFIED while another workflow works on its dataset', async () => {
    const { upload, manage, engine, status } = await makeManager();
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    await engine.start('archive', { dataset_id: id, initiator: 'ann' });
    expect((await manage()).counts).toEqual({ ...NONE, errors: 1 });
    expect(status(id)).toBe('VERIFIED');
  });

  test('of a deleted dataset becomes PROCESSING_FAILED, is tried again, and given up with a notification', async () => {
    const notify = { role_ids: [3], user_ids: [] };
    const { upload, manage, status, metadata, api } = await makeManager({
      enabled_features: { notifications: true },
      uploads: { notify },
    });
    const { id } = upload('up', FILES, { status: 'VERIFIED' });
    Object.assign(api.store.dataset(id), { is_deleted: true });
    expect((await manage()).counts).toEqual({ ...NONE, errors: 1, failed_retried: 1 });
    expect(status(id)).toBe('PROCESSING_FAILED');
    expect(metadata(id).failure_reason).toContain('E_DATASET_DELETED');
    for (let retry = 2; retry <= 3; retry++) {
      expect((await manage()).counts).toEqual({ ...NONE, failed_retried: 1 });
      expect(api.store.uploads.get(id)?.retry_count).toBe(retry);
    }
    expect((await manage()).counts).toEqual({ ...NONE, permanently_failed: 1 });
    expect(status(id)).toBe('PERMANENTLY_FAILED');
    expect(metadata(id).failure_reason).toMatch(/tried 3 times again; last: E_DATASET_DELETED/);
    expect(api.store.notifications).toHaveLength(1);
    expect((await manage()).counts).toEqual(NONE);
  });
});

describe('PROCESSING_FAILED', () => {
  test('is landed as a retry that is counted, in the same PATCH', async () => {
    const { upload, manage, status, api, workflows } = await makeManager();
    const { id } = upload('up', FILES, { status: 'PROCESSING_FAILED', retry_count: 2 });
    expect((await manage()).counts).toEqual({ ...NONE, failed_retried: 1 });
    expect(status(id)).toBe('COMPLETE');
    expect(api.store.uploads.get(id)?.retry_count).toBe(3);
    expect(api.store.linked(id)).toEqual((await workflows(id, 'integrated')).map((one) => one.id));
  });

  test('that was tried often enough is PERMANENTLY_FAILED, whatever the API lists by itself', async () => {
    const { upload, manage, status, api } = await makeManager();
    const { id } = upload('up', FILES, { status: 'PROCESSING_FAILED', retry_count: 7, minutes: 73 * 60 });
    expect((await manage()).counts).toEqual({ ...NONE, permanently_failed: 1 });
    expect(status(id)).toBe('PERMANENTLY_FAILED');
    expect(api.store.notifications).toEqual([]);
  });
});

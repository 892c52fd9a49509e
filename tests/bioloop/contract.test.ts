/**
 * The contract of the API as JSON schemas (schemas/*.json): what is sent and what is answered. Both the client's requests
 * and the double's answers are held to them, so that neither drifts from the real server unnoticed.
 */
import { expect, onTestFinished, test } from 'vitest';
import { createApiClient } from '../../workers/bioloop/client.ts';
import { type BioloopApi as Endpoints, bioloopApi } from '../../workers/bioloop/endpoints.ts';
import { type BioloopApi, nameOf, startBioloopApi } from '../support/bioloop-api.ts';
import { changeEverything, contract, problemsOf, refusals } from './contract.ts';

/** Everything that was asked and answered, against what is recorded of it. */
function problemsIn({ exchanges }: BioloopApi): string[] {
  return exchanges.flatMap(({ call, status, body }) => {
    const name = nameOf(call);
    const recorded = contract.get(name);
    if (recorded === undefined) return [`${name}: is not in the contract`];
    const answered: unknown = JSON.parse(JSON.stringify(body ?? null));
    if (status !== 200)
      return problemsOf(`${name} ${status}`, refusals[String(status)] ?? { not: {} }, answered);
    return [
      ...(recorded.query === undefined
        ? []
        : problemsOf(`${name} query`, recorded.query, Object.fromEntries(call.query))),
      ...(recorded.request === undefined ? [] : problemsOf(`${name} request`, recorded.request, call.body)),
      ...problemsOf(`${name} answer`, recorded.answer, answered),
    ];
  });
}

async function open(): Promise<{ double: BioloopApi; api: Endpoints }> {
  const double = await startBioloopApi();
  const client = createApiClient({
    base_url: double.url,
    auth_token: double.token,
    conn_timeout: 5,
    read_timeout: 30,
    delay_scale: 0,
  });
  const api = bioloopApi(client);
  onTestFinished(() => api.close());
  return { double, api };
}

const NEW = { type: 'RAW_DATA', create_method: 'SCAN' };

async function useEverything(double: BioloopApi, api: Endpoints): Promise<void> {
  double.store.projects.set('p1', { id: 'p1', name: 'P' });
  const one = await api.createDataset({
    ...NEW,
    name: 'one (1)',
    origin_path: '/o/1',
    description: '<b>',
    project_id: 'p1',
    du_size: 2n ** 60n,
    metadata: { a: 1 },
  });
  const { created } = await api.createDatasets([
    { ...NEW, name: 'two', origin_path: '/o/2' },
    { ...NEW, name: 'one (1)', origin_path: '/o/1' },
    // PostgreSQL has no such character: the only fault of its database that passes the validation.
    { ...NEW, name: 'three', origin_path: '/o/\0' },
  ]);
  const two = created[0]?.id ?? 0;
  const workflow_id = await changeEverything(api, one.id, two);
  await api.listDatasets({
    type: 'RAW_DATA',
    name: 'one',
    match_name_exact: false,
    bundle: true,
    include_audit_logs: true,
    limit: 5,
    offset: 0,
  });
  await api.listDatasets({ days_since_last_staged: 20, archived: true });
  await api.getDataset(one.id, { files: true, workflows: true, bundle: true });
  for await (const page of api.readFileRows(one.id, 10)) expect(page).toEqual([{ path: 'd/a', md5: null }]);
  expect(await api.filesBelow(one.id, 'd')).toMatchObject([{ path: 'd/a' }]);
  expect([await api.filesBelow(one.id, 'd/a'), await api.filesBelow(one.id, 'd/b')]).toEqual([[], null]);
  await api.deleteDataset(two);

  double.store.uploads.set(one.id, {
    dataset_id: one.id,
    status: 'UPLOADED',
    retry_count: 0,
    process_id: 'ab'.repeat(16),
    metadata: {},
    updated_at: '2026-01-01T00:00:00.000Z',
  });
  await api.stalledUploads();
  await api.uploadsByStatus(['UPLOADED', 'VERIFIED']);
  await api.patchUpload(one.id, { status: 'UPLOADING' });
  Object.assign(double.store.uploads.get(one.id) ?? {}, { updated_at: '2026-01-01T00:00:00.000Z' });
  await api.expiredUploads({ age_days: 0.25 });
  await api.patchUploadLog(one.id, {
    status: 'PROCESSING_FAILED',
    metadata: { failure_reason: 'x' },
    retry_count: 1,
  });
  await api.failedUploads();
  await api.uploadLog(one.id);
  await api.listUploads();

  await api.listWorkflows({ dataset_id: one.id, last_task_run: true });
  await api.getWorkflow(workflow_id, { last_task_runs: true });
  await api.currentWorkflows();
  const process = {
    step: 's',
    task_id: 't',
    pid: 1,
    hostname: 'h',
    start_time: new Date().toISOString(),
    tags: { args: ['x'] },
  };
  const { id } = await api.createProcess({ ...process, workflow_id });
  await api.createProcess({ ...process, workflow_id: null });
  await api.addLogs(id, [{ timestamp: new Date().toISOString(), level: 'stderr', message: 'line\n' }]);

  await api.createMetrics([{ measurement: 'sda', subject: 'h', usage: 2n ** 50n, limit: null, tags: [] }]);
  await api.createNotification({ label: 'x', text: 'y', type: 'UPLOAD', role_ids: [1] });
  const project = crypto.randomUUID();
  double.store.projects.set(project, { id: project, name: 'P' });
  await api.listProjects();
  await api.getProject(project, { include_datasets: false });
}

test('every endpoint is asked and answers as the contract records it, and none is left out', async () => {
  const { double, api } = await open();
  await useEverything(double, api);
  expect(problemsIn(double)).toEqual([]);
  const used = new Set(double.exchanges.map(({ call }) => nameOf(call)));
  expect([...contract.keys()].filter((name) => !used.has(name))).toEqual([]);
});

test('refusals have the bodies of the contract', async () => {
  const { double, api } = await open();
  await api.createDataset({ ...NEW, name: 'x', origin_path: '/o' });
  const refused = [
    api.createDataset({ ...NEW, name: '', origin_path: '/o' }),
    api.createDatasets([
      { ...NEW, name: 'fine', origin_path: '/o/f' },
      { ...NEW, name: 'z', type: 'OTHER', origin_path: '/o' },
    ]),
    api.createNotification({ label: 'x', text: 'y', role_ids: [1] } as never),
    api.createDataset({ ...NEW, name: 'x', origin_path: '/o' }),
    api.createDataset({ ...NEW, name: 'y', origin_path: '/o', create_method: 'IMPORT' }),
    api.getDataset(4711),
    api.patchDataset(1, { unknown: 1 } as never),
  ];
  const settled = await Promise.allSettled(refused);
  expect(settled.map(({ status }) => status)).toEqual(refused.map(() => 'rejected'));
  const statuses = double.exchanges.map(({ status }) => status).filter((status) => status !== 200);
  expect(statuses.toSorted((a, b) => a - b)).toEqual([400, 400, 403, 404, 409, 500, 500]);
  expect(problemsIn(double)).toEqual([]);
});

test('the check finds a request and an answer of another shape', async () => {
  const { double, api } = await open();
  const { id } = await api.createDataset({ ...NEW, name: 'x', origin_path: '/o' });
  await api.addFiles(id, [{ path: 'a', md5: null, size: 1, type: 'pipe' }]);
  Object.assign(double.store.dataset(id), { num_files: 'many' });
  await api.getDataset(id).catch(() => undefined);
  const problems = problemsIn(double);
  expect(problems).toHaveLength(2);
  expect(problems[0]).toContain('POST datasets/:id/files request');
  expect(problems[1]).toContain('GET datasets/:id answer');
});

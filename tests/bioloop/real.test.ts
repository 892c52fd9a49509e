/**
 * The same contract asked of a Bioloop's own API, where there is one to spoil: it registers, starts and deletes.
 *
 *     BIOLOOP_TEST_URL=http://127.0.0.1:3030/ BIOLOOP_TEST_TOKEN=$(node src/scripts/issue_token.js svc_tasks) npm test
 *
 * Its workflow server is a gateway of Longshore, and it has at least one project.
 */
import { createServer, request as ask } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { createApiClient } from '../../workers/bioloop/client.ts';
import { type BioloopApi, bioloopApi } from '../../workers/bioloop/endpoints.ts';
import { nameOf } from '../support/bioloop-api.ts';
import { mergeDeep } from '../support/bioloop-store.ts';
import { changeEverything, contract, problemsOf } from './contract.ts';

const url = process.env.BIOLOOP_TEST_URL;
const auth_token = process.env.BIOLOOP_TEST_TOKEN ?? '';

interface Answer {
  readonly name: string;
  readonly status: number;
  readonly body: unknown;
}

/** The client by way of something that keeps every answer as it came. */
async function open(target: string): Promise<{ api: BioloopApi; answers: Answer[] }> {
  const answers: Answer[] = [];
  const server = createServer((from, to) => {
    const path = new URL(from.url ?? '/', target).pathname.replace(/^\//, '');
    const headers = { ...from.headers, 'accept-encoding': 'identity' };
    const passed = ask(new URL(from.url ?? '/', target), { method: from.method ?? '', headers }, (answer) => {
      void buffer(answer).then((body) => {
        const text = body.toString();
        answers.push({
          name: nameOf({ method: from.method ?? '', path: path.toLowerCase() }),
          status: answer.statusCode ?? 0,
          body: /^[[{]/.test(text) ? JSON.parse(text) : text,
        });
        to.writeHead(answer.statusCode ?? 500, answer.headers).end(body);
      });
    });
    from.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const client = createApiClient({
    base_url: `http://127.0.0.1:${port}/`,
    auth_token,
    conn_timeout: 5,
    read_timeout: 30,
    delay_scale: 0,
  });
  const api = bioloopApi(client);
  onTestFinished(() => {
    api.close();
    server.closeAllConnections();
    server.close();
  });
  return { api, answers };
}

test("a Bioloop's own API answers every endpoint as the contract records it", async (context) => {
  if (url === undefined)
    return context.skip('set BIOLOOP_TEST_URL and BIOLOOP_TEST_TOKEN to those of an API to spoil');
  const { api, answers } = await open(url);
  await useEverything(api, url);
  const problems = answers.flatMap(({ name, status, body }) => {
    const recorded = contract.get(name);
    if (recorded === undefined) return [`${name}: is not in the contract`];
    // How it says that it knows no such folder, for which it is asked below.
    if (name === 'GET datasets/:id/files' && status === 404) return [];
    return status === 200
      ? problemsOf(`${name} answer`, recorded.answer, body)
      : [`${name}: ${status} ${JSON.stringify(body)}`];
  });
  expect(problems).toEqual([]);
  const used = new Set(answers.map(({ name }) => name));
  expect([...contract.keys()].filter((name) => !used.has(name))).toEqual([]);
});

test("a Bioloop's own API merges metadata and takes one figure of a name at a time, as its double does", async (context) => {
  if (url === undefined)
    return context.skip('set BIOLOOP_TEST_URL and BIOLOOP_TEST_TOKEN to those of an API to spoil');
  const { api } = await open(url);
  const before = {
    a: [1, { b: 2 }, 3],
    c: { d: [4, 5] },
    e: [6, 7],
    f: { g: 1 },
    h: [8],
    i: { j: 1 },
    k: [9],
  };
  const over = { a: [0, { l: 1 }], c: { d: [] }, e: { m: 1 }, f: [2], h: 5, i: { n: null }, k: null };
  const name = `merged ${Date.now().toString(36)}`;
  const given = { name, type: 'RAW_DATA', origin_path: '/origin', metadata: before };
  const { id } = await api.createDataset(given);
  const after = await api.patchDataset(id, { metadata: over });
  expect(after.metadata).toEqual(mergeDeep(before, over));
  await api.deleteDataset(id);
  const metric = { measurement: 'scratch', subject: 'h', usage: 1, limit: 2, tags: [] };
  await expect(api.createMetrics([metric, { ...metric, usage: 3 }])).rejects.toMatchObject({
    code: 'E_API_CONFLICT',
  });
});

async function useEverything(api: BioloopApi, target: string): Promise<void> {
  const tag = Date.now().toString(36);
  const set = (name: string) => ({
    type: 'RAW_DATA',
    create_method: 'SCAN',
    name: `${name} ${tag}`,
    origin_path: `/origin/${name}`,
  });
  const [project] = await api.listProjects();
  if (project === undefined) throw new Error('this API has no project');
  await api.getProject(project.id, { include_datasets: false });
  const one = await api.createDataset({
    ...set('one (1)'),
    description: '<b>',
    project_id: project.id,
    du_size: 2n ** 60n,
    metadata: { a: 1 },
  });
  expect(one.du_size).toBe(2n ** 60n);
  const bulk = await api.createDatasets([
    set('two'),
    set('one (1)'),
    { ...set('three'), origin_path: '/\0' },
  ]);
  expect([bulk.created.length, bulk.conflicted.length, bulk.errored.length]).toEqual([1, 1, 1]);
  const two = bulk.created[0]?.id ?? 0;
  const workflow_id = await changeEverything(api, one.id, two);
  await api.listDatasets({ type: 'RAW_DATA', name: 'one', bundle: true, include_audit_logs: true, limit: 5 });
  await api.listDatasets({ days_since_last_staged: 20, archived: true });
  await api.getDataset(one.id, { files: true, workflows: true, bundle: true });
  await api.deleteDataset(two);

  const { id: uploaded } = await newUpload(target, `upload ${tag}`);
  await api.stalledUploads();
  await api.uploadsByStatus(['UPLOADING', 'VERIFIED']);
  await api.expiredUploads({ age_days: 0 });
  await api.uploadLog(uploaded);
  await api.patchUploadLog(uploaded, { metadata: { probe: 1 } });
  await api.patchUploadLog(uploaded, { status: 'PROCESSING_FAILED', retry_count: 1 });
  await api.failedUploads();
  await api.listUploads();
  await api.patchUpload(uploaded, { status: 'UPLOADING' });

  await api.listWorkflows({ dataset_id: one.id, last_task_run: true });
  await api.getWorkflow(workflow_id, { last_task_runs: true });
  await api.currentWorkflows();
  const start_time = new Date().toISOString();
  const process = { step: 's', task_id: 't', pid: 1, hostname: 'h', start_time, tags: { args: ['x'] } };
  const { id } = await api.createProcess({ ...process, workflow_id });
  await api.createProcess({ ...process, workflow_id: null });
  await api.addLogs(id, [{ timestamp: start_time, level: 'stderr', message: 'line\n' }]);
  await api.createMetrics([{ measurement: 'sda', subject: 'h', usage: 2n ** 50n, limit: null, tags: [] }]);
  await api.createNotification({ label: 'x', text: 'y', type: 'UPLOAD', role_ids: [1] });
  for await (const page of api.readFileRows(one.id, 10)) expect(page).toEqual([{ path: 'd/a', md5: null }]);
  expect(await api.filesBelow(one.id, 'd')).toMatchObject([{ path: 'd/a' }]);
  expect(await api.filesBelow(one.id, 'd/b')).toBeNull();
}

/** As the web page begins one. */
async function newUpload(target: string, name: string): Promise<{ id: number }> {
  const answer = await fetch(new URL('datasets/uploads', target), {
    method: 'POST',
    headers: { authorization: `Bearer ${auth_token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ type: 'RAW_DATA', name }),
  });
  const { dataset } = (await answer.json()) as { dataset: { id: number } };
  return dataset;
}

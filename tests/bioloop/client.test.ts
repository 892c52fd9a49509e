import { inspect } from 'node:util';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type ClientOptions, createApiClient } from '../../workers/bioloop/client.ts';
import { delaySeconds, retryAfterSeconds } from '../../workers/bioloop/delays.ts';
import { dateOf, resolveUrl, searchParams } from '../../workers/bioloop/encoding.ts';
import { type BioloopApi as Endpoints, bioloopApi } from '../../workers/bioloop/endpoints.ts';
import { type BioloopApi, startBioloopApi } from '../support/bioloop-api.ts';
import { until } from '../support/until.ts';

const SET = { name: 'run 7', type: 'RAW_DATA', origin_path: '/origin/run 7', create_method: 'SCAN' };

function open(double: Pick<BioloopApi, 'url' | 'token'>, options: Partial<ClientOptions> = {}): Endpoints {
  const api = bioloopApi(
    createApiClient({
      base_url: double.url,
      auth_token: double.token,
      conn_timeout: 5,
      read_timeout: 30,
      delay_scale: 0.0001,
      ...options,
    }),
  );
  onTestFinished(() => api.close());
  return api;
}

const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable('it succeeded'),
    (error: unknown) =>
      error as { code: string; class: string; message: string; fields: Record<string, unknown> },
  );

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

describe('address, header and query', () => {
  test('the base URL is resolved as the reference does: a path needs its slash at the end', async () => {
    expect(String(resolveUrl('https://h/api', 'datasets'))).toBe('https://h/datasets');
    expect(String(resolveUrl('https://h/api/', 'datasets'))).toBe('https://h/api/datasets');
    expect(String(resolveUrl('https://h', 'datasets/7', { bundle: true }))).toBe(
      'https://h/datasets/7?bundle=True',
    );
    const double = await startBioloopApi({ basePath: '/api/' });
    expect((await open(double).listDatasets({})).datasets).toEqual([]);
    expect(double.calls[0]?.path).toBe('datasets');
    const error = await failureOf(open({ ...double, url: double.url.slice(0, -1) }).listDatasets({}));
    expect(error.code).toBe('E_API_ANSWER');
    expect(double.calls[1]?.path).toBe('../datasets');
  });

  test('every call carries the token, and connections are kept', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    for (let n = 0; n < 5; n++) await api.listDatasets({});
    expect(double.calls.map(({ headers }) => headers.authorization)).toEqual(
      Array.from({ length: 5 }, () => `Bearer ${double.token}`),
    );
    expect(double.connections()).toBe(1);
  });

  test('what is null stays out of the query; booleans and lists are sent as the reference sends them', async () => {
    expect(
      String(searchParams({ a: null, b: undefined, c: true, d: false, e: 0, f: ['x', 'y'], g: '' })),
    ).toBe('c=True&d=False&e=0&f=x&f=y&g=');
    const double = await startBioloopApi();
    await open(double).listDatasets({ deleted: null, bundle: true, name: 'a&b' });
    expect(String(double.calls[0]?.query)).toBe('bundle=True&name=a%26b');
  });
});

describe('asking again', () => {
  test('the delays are 0, 10, 20, 40, 80 and then 120 seconds', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 9].map(delaySeconds)).toEqual([0, 10, 20, 40, 80, 120, 120, 120, 120]);
  });

  test('what is waited before each retry is that, by the scale, or what the API asks for', async () => {
    const double = await startBioloopApi();
    const waited: number[] = [];
    const sleep = async (seconds: number): Promise<void> => void waited.push(seconds);
    double.fail('', { kind: 'status', status: 503 });
    await failureOf(open(double, { delay_scale: 1, sleep }).listDatasets({}));
    expect(waited.splice(0)).toEqual([0, 10, 20, 40, 80, 120, 120, 120, 120]);
    await failureOf(open(double, { delay_scale: 0.5, retries: 4, sleep }).listDatasets({}));
    expect(waited.splice(0)).toEqual([0, 5, 10, 20]);
    double.heal();
    double.fail('', { kind: 'status', status: 503, headers: { 'retry-after': '7' } }, 2);
    await open(double, { delay_scale: 1, sleep }).listDatasets({});
    expect(waited).toEqual([7, 7]);
  });

  test.each([429, 502, 503])('%i twice and then an answer is an answer', async (status) => {
    const double = await startBioloopApi();
    double.fail('GET datasets', { kind: 'status', status }, 2);
    expect((await open(double).listDatasets({})).metadata.count).toBe(0);
    expect(double.calls).toHaveLength(3);
  });

  test.each([500, 504])('%i is not asked again', async (status) => {
    const double = await startBioloopApi();
    double.fail('', { kind: 'status', status });
    expect((await failureOf(open(double).listDatasets({}))).code).toBe('E_API_FAILED');
    expect(double.calls).toHaveLength(1);
  });

  test('after nine retries it says that the API is away', async () => {
    const double = await startBioloopApi();
    double.fail('', { kind: 'status', status: 503 });
    const error = await failureOf(open(double).listDatasets({}));
    expect(error).toMatchObject({ code: 'E_API_UNAVAILABLE', class: 'retryable', fields: { status: 503 } });
    expect(double.calls).toHaveLength(10);
  });

  test('Retry-After is read as seconds and as a date, and beats the delay', async () => {
    expect(retryAfterSeconds('7')).toBe(7);
    expect(retryAfterSeconds('Wed, 21 Oct 2026 07:28:00 GMT', Date.parse('2026-10-21T07:27:30Z'))).toBe(30);
    expect(retryAfterSeconds('soon')).toBeNull();
    expect(retryAfterSeconds(undefined)).toBeNull();
    const double = await startBioloopApi();
    double.fail('', { kind: 'status', status: 503, headers: { 'retry-after': '0' } }, 9);
    // Without it the second delay alone would take until the test has run out of time.
    expect((await open(double, { delay_scale: 1000 }).listDatasets({})).datasets).toEqual([]);
  });

  test('a server that is silent or not there is given up after the timeout', async () => {
    const double = await startBioloopApi();
    double.fail('', { kind: 'silent' });
    const silent = await failureOf(open(double, { read_timeout: 0.05, retries: 2 }).listDatasets({}));
    expect(silent).toMatchObject({ code: 'E_API_UNAVAILABLE', fields: { reason: 'ETIMEDOUT' } });
    expect(double.calls).toHaveLength(3);
    await double.stop();
    const gone = await failureOf(open(double, { retries: 1 }).listDatasets({}));
    expect(gone).toMatchObject({ fields: { reason: 'ECONNREFUSED', uncertain: false } });
  });

  test('a retry that waits is ended by its signal', async () => {
    const double = await startBioloopApi();
    double.fail('', { kind: 'status', status: 503 });
    const stop = new AbortController();
    const asked = failureOf(open(double, { delay_scale: 1000 }).listDatasets({}, { signal: stop.signal }));
    stop.abort();
    expect(await asked).toMatchObject({ name: 'AbortError' });
  });
});

describe('what must not run twice', () => {
  const uncertain = [
    { kind: 'commit-then-drop' },
    { kind: 'commit-then-status', status: 502 },
    { kind: 'silent', commit: true },
  ] as const;

  test.each(uncertain)(
    'a dataset is created once, its workflow linked once, its state written once: %o',
    async (fault) => {
      const double = await startBioloopApi();
      const api = open(double, { read_timeout: 0.2 });
      double.fail('POST', fault, 1);
      const dataset = await api.createDataset(SET);
      expect(dataset).toMatchObject({ name: 'run-7', origin_path: '/origin/run 7' });
      double.fail('POST', fault, 1);
      await api.linkWorkflow(dataset.id, 'w1');
      double.fail('POST', fault, 1);
      await api.addState(dataset.id, 'READY', { b: 1, a: { d: 2, c: 3 } });
      double.fail('POST', fault, 1);
      const started = await api.startWorkflow(dataset.id, 'stage');
      expect([...double.store.datasets.keys()]).toEqual([dataset.id]);
      expect(double.store.linked(dataset.id)).toEqual(['w1', started.workflow_id]);
      expect(double.store.dataset(dataset.id).states.map(({ state }) => state)).toEqual([
        'REGISTERED',
        'READY',
      ]);
    },
  );

  test('one that was dropped before it was carried out is sent again', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    double.fail('POST', { kind: 'drop' }, 1);
    const dataset = await api.createDataset(SET);
    double.fail('POST', { kind: 'drop' }, 1);
    await api.addState(dataset.id, 'READY');
    expect(double.store.dataset(dataset.id).states.map(({ state }) => state)).toEqual([
      'REGISTERED',
      'READY',
    ]);
  });

  test('a conflict is our own only after an outcome that nobody knows', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    const { id } = await api.createDataset(SET);
    double.fail('POST', { kind: 'commit-then-drop' }, 1);
    await api.associate([{ source_id: id, derived_id: id }]);
    const again = await failureOf(api.associate([{ source_id: id, derived_id: id }]));
    expect(again.code).toBe('E_API_CONFLICT');
  });

  test('a look-up that fails is tried again, and nothing is sent before it has an answer', async () => {
    const double = await startBioloopApi();
    double.fail('POST', { kind: 'commit-then-drop' }, 1);
    double.fail('GET', { kind: 'status', status: 503 }, 3);
    await open(double).createDataset(SET);
    expect(double.called('POST datasets')).toHaveLength(1);
    expect(double.called('GET datasets')).toHaveLength(4);
  });

  test('with the workflow server away no second workflow is started', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    const dataset = await api.createDataset(SET);
    double.fail('POST', { kind: 'commit-then-drop' }, 1);
    await api.startWorkflow(dataset.id, 'integrated');
    double.behaviour.workflowServer = false;
    expect((await api.getDataset(dataset.id, { workflows: true })).workflows).toEqual([]);
    const again = await failureOf(api.startWorkflow(dataset.id, 'integrated', { doubtful: true }));
    expect(again.code).toBe('E_API_FAILED');
    expect(double.store.linked(dataset.id)).toHaveLength(1);
  });

  test('a workflow that has ended is not the one that was asked for', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    const { id } = await api.createDataset(SET);
    double.fail('POST', { kind: 'drop' }, 1);
    const ended = { id: 'ended', name: 'stage', status: 'SUCCESS' };
    double.fail('GET workflows', { kind: 'answer', body: { metadata: { total: 1 }, results: [ended] } }, 1);
    const { workflow_id } = await api.startWorkflow(id, 'stage');
    expect(double.store.linked(id)).toEqual([workflow_id]);
  });

  test('no other dataset of the same origin, whose name differs by case, is taken for it', async () => {
    const api = open(await startBioloopApi());
    await api.createDataset({ ...SET, name: 'RUN 7' });
    expect(await api.findDataset(SET)).toBeNull();
  });

  test('what cannot be looked up is not sent twice', async () => {
    const double = await startBioloopApi();
    double.fail('POST metrics', { kind: 'commit-then-drop' }, 1);
    const metric = { measurement: 'disk', subject: 'host', usage: 1n, limit: 2n, tags: [] };
    const error = await failureOf(open(double).createMetrics([metric]));
    expect(error).toMatchObject({ code: 'E_API_UNAVAILABLE', fields: { uncertain: true } });
    expect(double.store.metrics).toHaveLength(1);
  });

  test('an upload whose workflow was linked with its last status is found to be complete', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    const { id } = await api.createDataset({ ...SET, create_method: 'UPLOAD' });
    double.store.uploads.set(id, {
      dataset_id: id,
      status: 'VERIFIED',
      retry_count: 0,
      process_id: 'p',
      metadata: { checksum: 'x' },
      updated_at: '2026-01-01T00:00:00.000Z',
    });
    double.fail('PATCH', { kind: 'commit-then-drop' }, 1);
    await api.patchUploadLog(id, {
      status: 'COMPLETE',
      workflow_id: 'w1',
      metadata: { done: 1 },
    });
    expect(await api.uploadLog(id)).toMatchObject({
      status: 'COMPLETE',
      metadata: { checksum: 'x', done: 1 },
    });
    expect(double.called('PATCH datasets/uploads/:id/upload-log')).toHaveLength(1);
  });
});

describe('errors', () => {
  test('each status has its code and class', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    await api.createDataset(SET);
    expect(await failureOf(api.createDataset(SET))).toMatchObject({ code: 'E_API_CONFLICT', class: 'fatal' });
    expect(await failureOf(api.getDataset(4711))).toMatchObject({ code: 'E_API_NOT_FOUND', class: 'fatal' });
    expect(await failureOf(api.createDataset({ ...SET, name: '' }))).toMatchObject({
      code: 'E_API_REQUEST',
      message: expect.stringContaining('"name"'),
    });
    for (const status of [401, 403]) {
      double.fail('GET', { kind: 'status', status }, 1);
      expect(await failureOf(api.listDatasets({}))).toMatchObject({
        code: 'E_API_REFUSED',
        class: 'operator',
      });
    }
    const strange = open({ ...double, token: 'wrong' });
    expect(await failureOf(strange.listDatasets({}))).toMatchObject({ code: 'E_API_REFUSED' });
  });

  test('HTML is named with its URL and content type, also as a 404 that is none', async () => {
    const double = await startBioloopApi();
    for (const status of [200, 302, 404]) {
      double.fail('', { kind: 'html', status }, 1);
      const error = await failureOf(open(double).getDataset(1));
      expect(error.code).toBe('E_API_ANSWER');
      expect(error.message).toContain(`${double.url}datasets/1`);
      expect(error.message).toContain('text/html');
    }
    // A page that comes with one of these is theirs: who asked, or how often, is not as the server wants it.
    for (const [status, code] of [
      [401, 'E_API_REFUSED'],
      [403, 'E_API_REFUSED'],
      [429, 'E_API_UNAVAILABLE'],
    ] as const) {
      double.fail('', { kind: 'html', status }, 1);
      expect((await failureOf(open(double, { retries: 0 }).getDataset(1))).code).toBe(code);
    }
    // Nor is it a list of files, to be read to its end and called another shape.
    double.fail('', { kind: 'html', status: 200 }, 1);
    const rows = await failureOf(open(double).readFileRows(1, 10).next());
    expect(rows).toMatchObject({ code: 'E_API_ANSWER', class: 'retryable' });
    expect(rows.message).toContain('text/html');
    // Nothing of this answer is read, and yet a login page has taken no state.
    double.fail('POST', { kind: 'html', status: 200 }, 1);
    expect((await failureOf(open(double).addState(1, 'READY'))).code).toBe('E_API_ANSWER');
  });

  test('who stops a request hears his own reason', async () => {
    const double = await startBioloopApi();
    const stop = new AbortController();
    const reason = new Error('revoked by a person');
    double.fail('', { kind: 'silent' }, 1);
    const asked = failureOf(open(double).getDataset(1, {}, { signal: stop.signal }));
    await until(() => double.calls.length > 0, { what: 'the request' });
    stop.abort(reason);
    expect(await asked).toBe(reason);
  });

  test('a redirect is not followed: the token goes nowhere else', async () => {
    const other = await startBioloopApi();
    const server = createServer((_, response) => {
      response.writeHead(307, { location: `${other.url}datasets` }).end();
    });
    const error = await failureOf(
      open({ url: await listening(server), token: other.token }).listDatasets({}),
    );
    expect(error).toMatchObject({ code: 'E_API_REQUEST', fields: { status: 307 } });
    expect(other.calls).toEqual([]);
  });

  test('an answer of another shape names the endpoint and the path in it', async () => {
    const double = await startBioloopApi();
    double.fail('', { kind: 'answer', body: { id: 'seven', name: 'x', type: 'RAW_DATA' } }, 1);
    const error = await failureOf(open(double).getDataset(7));
    expect(error).toMatchObject({ code: 'E_API_ANSWER', class: 'fatal', fields: { paths: ['id'] } });
    expect(error.message).toContain('GET datasets/:id');
  });

  test('the token stands in no error and no log', async () => {
    const double = await startBioloopApi();
    const api = open(double, { retries: 0, read_timeout: 0.05 });
    for (const fault of [
      { kind: 'drop' },
      { kind: 'silent' },
      { kind: 'html' },
      { kind: 'status', status: 500 },
    ] as const) {
      double.fail('', fault, 1);
      const error = await failureOf(api.listDatasets({}));
      expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(double.token);
    }
  });
});

describe('values', () => {
  test('2^53 + 1 bytes survive both directions, at the top level, in the bundle and in files', async () => {
    const double = await startBioloopApi();
    const api = open(double);
    const size = 2n ** 53n + 1n;
    const { id } = await api.createDataset({ ...SET, du_size: size });
    const bundle = { name: 'run-7.tar', size, md5: 'ab'.repeat(16) };
    expect(await api.patchDataset(id, { size, bundle })).toMatchObject({ du_size: size, size });
    expect(double.store.dataset(id)).toMatchObject({ du_size: size, size });
    // The bundle's as a number, of which the server's own reader keeps 53 bits.
    expect(double.called('PATCH datasets/:id')[0]?.text).toBe(
      `{"size":"9007199254740993","bundle":{"name":"run-7.tar","size":9007199254740993,"md5":"${bundle.md5}"}}`,
    );
    double.store.dataset(id).bundle = bundle;
    expect((await api.getDataset(id, { bundle: true })).bundle?.size).toBe(size);
    await api.addFiles(id, [{ path: 'a', md5: null, size, type: 'file' }]);
    expect(double.called('POST datasets/:id/files')[0]?.text).toContain('"size":"9007199254740993"');
  });

  test('dates are read, and what is none is null', () => {
    expect(dateOf('2026-02-28T12:00:00Z')).toBe('2026-02-28T12:00:00.000Z');
    expect(dateOf('2026-02-28T12:00:00.123456Z')).toBe('2026-02-28T12:00:00.123Z');
    for (const value of [
      '2026-02-30T12:00:00Z',
      '2026-02-28',
      '2026-02-28T12:00:00+02:00',
      'x',
      '',
      null,
      7,
      {},
    ])
      expect(dateOf(value)).toBeNull();
  });

  test('the double takes no null for a size, as the real API does not', async () => {
    const double = await startBioloopApi();
    const given = { name: 'x', type: 'RAW_DATA', origin_path: '/x' };
    const { id } = await open(double).createDataset(given);
    const send = async (method: string, path: string, body: object): Promise<number> => {
      const headers = { authorization: `Bearer ${double.token}`, 'content-type': 'application/json' };
      return (await fetch(`${double.url}${path}`, { method, headers, body: JSON.stringify(body) })).status;
    };
    for (const name of ['du_size', 'size', 'bundle_size']) {
      expect(await send('PATCH', `datasets/${id}`, { [name]: null })).toBe(400);
      expect(await send('PATCH', `datasets/${id}`, { [name]: '7' })).toBe(200);
      expect(await send('POST', 'datasets', { ...given, name, [name]: null })).toBe(400);
    }
  });

  test('sizes and dates that are none are null, not an error', async () => {
    const double = await startBioloopApi();
    const body = { id: 7, name: 'x', type: 'RAW_DATA', size: '12x', du_size: '9', created_at: 'yesterday' };
    double.fail('', { kind: 'answer', body }, 1);
    expect(await open(double).getDataset(7)).toMatchObject({ size: null, du_size: 9n, created_at: null });
  });
});

test('a server that drops a kept connection between two calls costs nothing', async () => {
  let served = 0;
  const server = createServer((request, response) => {
    served += 1;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ metadata: { count: served }, datasets: [] }), () => {
      setImmediate(() => request.socket.destroy());
    });
  });
  const api = open({ url: await listening(server), token: 't' });
  for (let n = 1; n <= 10; n++) expect((await api.listDatasets({})).metadata.count).toBe(n);
});

import { writeFileSync } from 'node:fs';
import { expect, inject, onTestFinished, test } from 'vitest';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { bodyOf, clientOf, makeGateway, tokenOf, writeKeys } from '../gateway/gateway.ts';
import { begin, claimOf, makeWorkflow, policy, runsOnce } from '../records/fixture.ts';
import { findFerretdb, startFerretdb } from '../services/mongodb.ts';
import { makeFleet } from '../support/fleet.ts';
import { describeMongodb, isFerretdb, mongoPlace } from '../support/mongodb.ts';
import { makePlace, type Place } from '../support/place.ts';
import { startScript } from '../support/script.ts';
import { until } from '../support/until.ts';
import { startWireProxy } from './wire-proxy.ts';

/** Settings of whoever keeps all in this server. */
const inMongodb = ({ url }: { readonly url: string }, more: { patience_seconds?: number } = {}) => ({
  catalog: { backend: 'mongodb' },
  records: { backend: 'mongodb' },
  mongodb: { url, database: 'own', ...more },
});

/** A server of the test's own, which it may kill. */
async function ownServer(skip: (note: string) => never) {
  const binary = findFerretdb();
  if (binary === null)
    return skip('no FerretDB of its own that it could kill; see tests/services/mongodb.ts');
  const scratch = await makePlace();
  const folder = scratch.dir('mongodb');
  let server = await startFerretdb(binary, folder);
  onTestFinished(() => server.stop('SIGKILL'));
  return {
    url: server.url,
    kill: () => server.stop('SIGKILL'),
    start: async () => {
      server = await startFerretdb(binary, folder, server.port);
    },
  };
}

async function openThrough(
  url: string,
  mongodb: object = {},
): Promise<{ place: Place } & Awaited<ReturnType<typeof openStore>>> {
  const place = await mongoPlace({ mongodb: { url, ...mongodb } });
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  return { place, ...store };
}

describeMongodb('a MongoDB server that is away', () => {
  test('what is written while the server is killed and restarted waits, and nothing is lost', async ({
    skip,
  }) => {
    const server = await ownServer(skip);
    const place = await makePlace(inMongodb(server));
    const store = await openStore(place.config);
    onTestFinished(() => store.close());
    const { records, catalog } = store;
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    await server.kill();
    const finished = records.finish(key, { outcome: 'success', result: [1] });
    const registered = catalog.register(
      [{ dataset: { name: 'set', type: 'RAW_DATA', origin_path: '/o', create_method: 'TEST' } }],
      'x',
    );
    const audited = records.audit({ actor: 'a', action: 'b', subject: 'c', details: {} });
    await server.start();
    expect(await finished).toEqual({ next: expect.objectContaining({ index: 1 }) });
    expect((await registered)[0]?.outcome).toBe('created');
    await audited;
    expect(await records.auditLog({ subject: 'c' })).toHaveLength(1);
    expect((await records.workflowWithRuns(workflow.id))?.last_runs[0]).toMatchObject({ status: 'SUCCESS' });
    expect((await begin(records, workflow, 1)).run.args).toEqual([1]);
  });

  test('jobs run through while the server is killed and comes back: not one fails, is lost or is run twice', async ({
    skip,
  }) => {
    const server = await ownServer(skip);
    const fleet = await makeFleet({
      ...inMongodb(server),
      queue: { lock_seconds: 30, stalled_check_seconds: 5 },
    });
    const worker = await fleet.worker();
    const ids: string[] = [];
    const go = fleet.place.path('go');
    for (let n = 0; n < 4; n++) ids.push(await fleet.start({ one: { until_file: go }, two: {} }));
    await until(() => fleet.events('start').length >= 2, { what: 'two tasks to run' });
    await server.kill();
    // Those that run end meanwhile, and their outcome has nowhere to go.
    const running = fleet.events('start').map(({ pid }) => pid);
    writeFileSync(go, '');
    await until(() => running.every((pid) => membersOf(pid).length === 0), { what: 'these tasks to end' });
    await until(() => worker.log().includes('MongoDB does not answer'), { what: 'the log to tell' });
    await server.start();
    await until(() => worker.log().includes('MongoDB answers again'), { what: 'the log to tell the end' });
    for (const id of ids) {
      const done = await fleet.reaches(id, 'SUCCESS');
      for (const step of done.steps) expect(step.last_task_run).toMatchObject({ retries: 0, losses: 0 });
    }
    expect(fleet.events('start')).toHaveLength(8);
  });

  test('a server that does not come back is an outage with a code, and retried by class', async ({
    skip,
  }) => {
    const server = await ownServer(skip);
    const place = await makePlace(inMongodb(server, { patience_seconds: 0.2 }));
    const store = await openStore(place.config);
    onTestFinished(() => store.close());
    const { records } = store;
    await server.kill();
    const outage = { code: 'E_MONGODB_UNAVAILABLE', class: 'retryable' };
    await expect(records.note('x')).rejects.toMatchObject(outage);
    await expect(openStore(place.config)).rejects.toMatchObject(outage);
    await server.start();
    expect(await records.note('x')).toBeNull();
  });

  test('what waits for a server when its store is closed ends at once, with the code', async ({ skip }) => {
    const server = await ownServer(skip);
    const place = await makePlace(inMongodb(server));
    const store = await openStore(place.config);
    await server.kill();
    const waiting = expect(store.records.note('x')).rejects.toMatchObject({ code: 'E_MONGODB_UNAVAILABLE' });
    await store.close();
    await waiting;
  });

  test('a process that begins while the server is away goes on as soon as it is there', async ({ skip }) => {
    const server = await ownServer(skip);
    const place = await makePlace(inMongodb(server));
    await server.kill();
    const script = startScript('longshore.ts', ['workflows', '--json'], place.env);
    // It has been refused at least once by then.
    await until(() => script.stderr().includes('MongoDB does not answer'), { what: script.stdout() });
    await server.start();
    const { code, stderr } = await script.ended;
    expect(code, stderr).toBe(0);
    expect(stderr).toContain('MongoDB answers again');
  });

  test('the gateway answers 503 while the server is away, having changed nothing, and goes on when it is back', async ({
    skip,
  }) => {
    const server = await ownServer(skip);
    const place = await makePlace(inMongodb(server, { patience_seconds: 0.2 }));
    const { ask } = await makeGateway({ place });
    const { body } = await ask<{ workflow_id: string }>('/workflows', { json: bodyOf(place.config) });
    const path = `/workflows/${body.workflow_id}`;
    const before = await ask(path);
    await server.kill();
    for (const answer of [
      await ask('/workflows'),
      await ask(path),
      await ask('/workflows', { json: bodyOf(place.config) }),
      await ask(`${path}/pause`, { method: 'POST' }),
      await ask(`${path}/resume?force=true`, { json: {} }),
      await ask(path, { method: 'DELETE' }),
    ]) {
      expect(answer).toMatchObject({ status: 503, body: { code: 'E_MONGODB_UNAVAILABLE' } });
      expect(answer.headers.get('retry-after')).toBe('5');
    }
    await server.start();
    expect((await ask(path)).body).toEqual(before.body);
    expect((await ask<{ metadata: object }>('/workflows')).body.metadata).toMatchObject({ total: 1 });
  });

  test('what the gateway was changing when the server went away is told to look for', async ({ skip }) => {
    const server = await ownServer(skip);
    const place = await makePlace(inMongodb(server, { patience_seconds: 0.2 }));
    const wrap = ({ records, ...store }: Store): Store => ({
      ...store,
      records: {
        ...records,
        createWorkflow: async (...args) => {
          await server.kill();
          return records.createWorkflow(...args);
        },
      },
    });
    const { ask } = await makeGateway({ place, wrap });
    expect(await ask('/workflows', { json: bodyOf(place.config) })).toMatchObject({
      status: 503,
      body: { code: 'E_MONGODB_UNAVAILABLE', hint: expect.stringContaining('Look before') as string },
    });
  });

  test('a gateway gives a server that is away 15 s, whatever jobs give it', async ({ skip }) => {
    const server = await ownServer(skip);
    const place = await makePlace(inMongodb(server));
    writeKeys(place.config);
    const running = startScript('gateway.ts', ['--port', '0'], place.env);
    const line = await until(() => /"address":"([^"]+)"/.exec(running.stdout()), { what: running.stderr() });
    const ask = clientOf(line[1] ?? '', await tokenOf(place.config));
    expect((await ask('/workflows')).status).toBe(200);
    await server.kill();
    const asked = performance.now();
    expect((await ask('/workflows')).status).toBe(503);
    expect((performance.now() - asked) / 1000).toBeLessThan(30);
    expect(running.stderr()).toContain('MongoDB does not answer');
  });

  test('a write that was done although its answer was lost is neither done twice nor refused', async () => {
    const proxy = await startWireProxy(inject('mongodb'));
    const { records, catalog } = await openThrough(proxy.url);
    proxy.decide = (_, nth) => (nth % 2 === 1 ? 'lose the answer' : 'pass');
    await runsOnce(records);
    const items = ['a', 'b', 'c'].map((name) => ({
      dataset: { name, type: 'RAW_DATA', origin_path: `/o/${name}`, create_method: 'TEST' as const },
      workflow: (dataset_id: number) => makeWorkflow({ dataset_id }),
    }));
    const outcomes = await catalog.register(items, 'x');
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['created', 'created', 'created']);
    expect((await records.listWorkflows({})).total).toBe(4);
    expect(await records.auditLog({})).toHaveLength(3);
    const [first] = outcomes;
    // A number whose answer was lost is left out.
    const id = first?.outcome === 'created' ? first.dataset.id : 0;
    await catalog.putFiles(id, [{ path: 'f', type: 'file', size: 1, md5: null, digests: {} }], 'g');
    expect(await catalog.countFiles(id)).toBe(1);
  });

  test('a server that answers too slowly is asked again until it is fast enough', async () => {
    const proxy = await startWireProxy(inject('mongodb'));
    const { records } = await openThrough(proxy.url, { answer_seconds: 1 });
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    proxy.delay_ms = 3_000;
    const claimed = records.claim(claimOf(workflow), policy);
    await until(() => proxy.writes.length > 1, { what: 'the claim to be written' });
    proxy.delay_ms = 0;
    expect(await claimed).toMatchObject({ verdict: 'run', key: { number: 1 }, run: { losses: 0 } });
  });

  test('another primary takes over, and what was asked of the old one is done by it', async ({ skip }) => {
    if (isFerretdb()) skip('FerretDB has no replica sets; set MONGODB_URL to one');
    const { place, records } = await openThrough(inject('mongodb'));
    const { MongoClient } = await import('mongodb');
    const client = new MongoClient(place.config.mongodb.url ?? '');
    onTestFinished(() => client.close());
    const hello = await client.db('admin').command({ hello: 1 });
    if (hello.setName === undefined) skip('MONGODB_URL names no replica set');
    const workflow = makeWorkflow();
    await records.createWorkflow(workflow);
    const { key } = await begin(records, workflow);
    await client.db('admin').command({ replSetStepDown: 10, force: true });
    expect(await records.finish(key, { outcome: 'success', result: [1] })).not.toBeNull();
    expect((await records.workflowWithRuns(workflow.id))?.last_runs[0]?.status).toBe('SUCCESS');
  });
});

/** Redis or the records go away, and come back. */
import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { WireWorkflow } from '../../workers/gateway/shapes.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import type { Records } from '../../workers/records/contract.ts';
import type { Store } from '../../workers/store.ts';
import { makeFleet } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { startHalfOpenProxy } from '../support/half-open-proxy.ts';
import { until } from '../support/until.ts';
import { bodyOf, makeGateway, type TestGateway } from './gateway.ts';

const away = {
  message: expect.stringMatching(/\S/) as string,
  code: 'E_REDIS_UNAVAILABLE',
  hint: expect.stringMatching(/\S/) as string,
};

async function change({ ask, place }: TestGateway, id: string) {
  return {
    create: await ask('/workflows', { json: bodyOf(place.config) }),
    pause: await ask(`/workflows/${id}/pause`, { method: 'POST' }),
    resume: await ask(`/workflows/${id}/resume`, { json: {} }),
    delete: await ask(`/workflows/${id}`, { method: 'DELETE' }),
  };
}

async function started({ ask, place }: TestGateway): Promise<string> {
  const { status, body } = await ask<{ workflow_id: string }>('/workflows', { json: bodyOf(place.config) });
  expect(status).toBe(200);
  return body.workflow_id;
}

test('without Redis everything can be read, what would change anything is refused with 503 and changes nothing, and it heals', async () => {
  const place = await makePlace({ queue: { url: null } });
  const folder = place.path('redis');
  let redis: EmbeddedRedis = await startEmbeddedRedis(folder);
  onTestFinished(() => redis.stop());
  const gateway = await makeGateway({ place });
  const id = await started(gateway);
  const before = (await gateway.ask(`/workflows/${id}`)).body;
  await redis.stop();

  for (const [name, answer] of Object.entries(await change(gateway, id))) {
    expect(answer, name).toMatchObject({ status: 503 });
    expect(answer.body, name).toEqual(away);
    expect(answer.headers.get('retry-after'), name).toBe('5');
  }
  expect((await gateway.ask('/health')).body).toEqual({ health: 'OK' });
  expect((await gateway.ask(`/workflows/${id}`)).body).toEqual(before);
  const { body } = await gateway.ask<{ metadata: object }>('/workflows');
  expect(body.metadata).toMatchObject({ total: 1 });
  expect((await gateway.ask('/workflows/counts_by_status?app_id=longshore-test')).body).toMatchObject({
    PENDING: 1,
  });

  redis = await startEmbeddedRedis(folder);
  await until(async () => (await gateway.ask('/workflows', { json: bodyOf(place.config) })).status === 200, {
    what: 'the gateway to start workflows again',
  });
  const { pause, resume, delete: gone } = await change(gateway, id);
  expect([pause.status, resume.status, gone.status]).toEqual([200, 200, 200]);
  expect(gone.body).toEqual({ deleted_count: 1 });
});

test('a gateway that is started before Redis reads at once, and changes things when Redis is there', async () => {
  const place = await makePlace({ queue: { url: null } });
  const gateway = await makeGateway({ place });
  expect((await gateway.ask('/workflows')).status).toBe(200);
  expect((await gateway.ask('/workflows', { json: bodyOf(place.config) })).body).toEqual(away);
  const redis = await startEmbeddedRedis(place.path('redis'));
  onTestFinished(() => redis.stop());
  await started(gateway);
});

test('a Redis that falls silent holds no request up, and is given up for a new connection', async () => {
  const proxy = await startHalfOpenProxy(inject('redis'));
  const gateway = await makeGateway({ overrides: { queue: { url: proxy.url, silence_seconds: 12 } } });
  const id = await started(gateway);
  proxy.silence(() => true);
  for (const [name, answer] of Object.entries(await change(gateway, id))) {
    expect(answer, name).toMatchObject({ status: 503 });
    expect(answer.body, name).toEqual(away);
  }
  await until(
    async () => (await gateway.ask('/workflows', { json: bodyOf(gateway.place.config) })).status === 200,
    {
      what: 'the gateway to be well again',
    },
  );
});

test('a start that was recorded when Redis went away is answered with its id, since it will run', async () => {
  const place = await makePlace({ queue: { url: null } });
  const redis = await startEmbeddedRedis(place.path('redis'));
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= Promise.resolve(redis.stop()).then(() => undefined));
  onTestFinished(stop);
  // Between the records and the queue: the worst moment there is.
  const wrap = ({ records, ...store }: Store): Store => ({
    ...store,
    records: {
      ...records,
      createWorkflow: async (...args) => {
        const answer = await records.createWorkflow(...args);
        await stop();
        return answer;
      },
    },
  });
  const gateway = await makeGateway({ place, wrap, stuck_seconds: 1 });
  const id = await started(gateway);
  const { body } = await gateway.ask<WireWorkflow>(`/workflows/${id}`);
  expect(body).toMatchObject({ id, status: 'PENDING' });
});

test('a start of which nothing was recorded by then is refused', async () => {
  const away = new LongshoreError('E_REDIS_UNAVAILABLE', 'it went away');
  const wrap = ({ records, ...store }: Store): Store => ({
    ...store,
    records: { ...records, createWorkflow: () => Promise.reject(away) },
  });
  const { ask, place } = await makeGateway({ wrap });
  expect((await ask('/workflows', { json: bodyOf(place.config) })).status).toBe(503);
});

test('a Redis that is full takes nothing in: what is recorded by then is answered as done, and follows by itself', async () => {
  const fleet = await makeFleet({ queue: { url: null }, workflow: { reconcile_seconds: 1 } });
  const redis = await startEmbeddedRedis(fleet.place.path('redis'));
  onTestFinished(() => redis.stop());
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  const gateway = await makeGateway({ place: fleet.place });
  const { ask, place } = gateway;
  const step = { task: 'drill', queue: `${place.config.app_id}.q`, kwargs: { journal: fleet.journal } };
  const post = async (name: string): Promise<string> => {
    const json = bodyOf(place.config, { steps: [{ ...step, name }], args: [await fleet.dataset()] });
    const { status, body } = await ask<{ workflow_id: string }>('/workflows', { json });
    expect(status).toBe(200);
    return body.workflow_id;
  };
  const [stopped, unwanted] = [await post('stopped'), await post('unwanted')];
  await ask(`/workflows/${stopped}/pause`, { method: 'POST' });

  await admin.config('SET', 'maxmemory', '1');
  const started = await post('started');
  expect((await ask(`/workflows/${stopped}/resume`, { json: {} })).body).toEqual({
    resumed: true,
    restarted_step: { name: 'stopped', task: 'drill' },
  });
  const refused = await ask<{ message: string }>(`/workflows/${unwanted}`, { method: 'DELETE' });
  expect(refused).toMatchObject({ status: 503, body: away });
  expect(refused.body.message).toContain('is not deleted yet');

  await admin.config('SET', 'maxmemory', '0');
  await fleet.worker();
  await fleet.reaches(started, 'SUCCESS');
  await fleet.reaches(stopped, 'SUCCESS');
  expect((await ask(`/workflows/${unwanted}`, { method: 'DELETE' })).body).toEqual({ deleted_count: 1 });
  expect(
    fleet
      .events('start')
      .map((entry) => entry.step)
      .toSorted(),
  ).toEqual(['started', 'stopped']);
});

test('records that do not answer are told with 503 and their code; nothing crashes, and they are asked again', async () => {
  let down = true;
  const wrap = (store: Store): Store => ({
    ...store,
    records: new Proxy(store.records, {
      get: (records, name: keyof Records) => {
        const call = records[name];
        if (typeof call !== 'function' || name === 'close') return call;
        return async (...args: unknown[]): Promise<unknown> => {
          if (down) throw new LongshoreError('E_CATALOG_UNAVAILABLE', 'the catalog did not answer');
          return (call as (...given: unknown[]) => Promise<unknown>)(...args);
        };
      },
    }),
  });
  const gateway = await makeGateway({ wrap });
  const reads = [
    '/workflows',
    '/workflows/x',
    '/workflows/counts_by_status?app_id=a',
    '/tasks/unique?app_id=a',
  ];
  const answers = [
    ...(await Promise.all(reads.map((path) => gateway.ask(path)))),
    ...Object.values(await change(gateway, 'x')),
  ];
  for (const { status, body } of answers) {
    expect(status).toBe(503);
    expect(body).toMatchObject({ code: 'E_CATALOG_UNAVAILABLE', message: 'the catalog did not answer' });
  }
  down = false;
  expect((await gateway.ask('/workflows')).status).toBe(200);
  await started(gateway);
});

test('what has no code of its own is told as an internal error, without a word of what it said', async () => {
  const wrap = ({ records, ...store }: Store): Store => ({
    ...store,
    records: {
      ...records,
      listWorkflows: () => Promise.reject(new Error('password=hunter2 in /etc/secret')),
    },
  });
  const gateway = await makeGateway({ wrap });
  const { status, body } = await gateway.ask('/workflows');
  expect(status).toBe(500);
  expect(JSON.stringify(body)).not.toMatch(/hunter2|secret/);
  expect(body).toMatchObject({ message: 'internal error' });
});

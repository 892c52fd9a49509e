import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { RestCatalog } from '../../workers/catalog/rest/catalog.ts';
import { openStore } from '../../workers/store.ts';
import { startProcess } from '../records/fixture.ts';
import { type BioloopApi, type Fault, startBioloopApi } from '../support/bioloop-api.ts';
import { makePlace, type Place } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';
import { until } from '../support/until.ts';
import { created } from './contract-datasets.ts';
import { makeRegistration } from './registration.ts';

interface Bench {
  readonly double: BioloopApi;
  readonly place: Place;
  readonly catalog: RestCatalog;
  readonly ids: readonly number[];
  /** States that the API has of a dataset, oldest first. */
  readonly states: (id: number) => string[];
}

async function begin(names: readonly string[] = ['set']): Promise<Bench> {
  const double = await startBioloopApi();
  const place = await makePlace(restOverrides(double));
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const catalog = store.catalog as RestCatalog;
  const outcomes = await catalog.register(
    names.map((name) => ({ dataset: makeRegistration({ name }).dataset })),
    'x',
  );
  return {
    double,
    place,
    catalog,
    ids: outcomes.map((outcome) => created(outcome).id),
    states: (id) => double.store.dataset(id).states.map(({ state }) => state),
  };
}

/** What a landing tells the catalog. */
async function land(catalog: RestCatalog, id: number): Promise<void> {
  await catalog.addState(id, 'READY', { n: 1 });
  await catalog.patch(id, { size: 10, num_files: 2, metadata: { stage_alias: 'ff' } });
  const bundle = {
    name: 'set.tar',
    size: 20,
    md5: 'ab'.repeat(16),
    digests: { md5: 'ab'.repeat(16), blake3: 'cd' },
  };
  await catalog.patch(id, { archive_path: '/a/set.tar', bundle: { ...bundle, verified_at: null } });
  await catalog.addState(id, 'ARCHIVED');
  await catalog.addState(id, 'FETCHED');
  await catalog.patch(id, { is_staged: true, metadata: { num_genome_files: 0 } });
  await catalog.addState(id, 'STAGED');
}

const LANDED = ['REGISTERED', 'READY', 'ARCHIVED', 'FETCHED', 'STAGED'];

const empty = (catalog: RestCatalog) =>
  until(async () => (await catalog.spool.waiting()) === 0, { what: 'the spool to be empty' });

describe('an API that is away', () => {
  test.each([
    { kind: 'status', status: 503 },
    { kind: 'status', status: 500 },
    { kind: 'status', status: 401 },
    { kind: 'html' },
    { kind: 'drop' },
  ] as Fault[])('%o: work goes on, and everything arrives in its order afterwards', async (fault) => {
    const { double, catalog, ids, states } = await begin(['a', 'b', 'c']);
    // Reading goes on too, but for a token that is refused.
    double.fail(fault.kind === 'status' && fault.status === 401 ? 'P' : '', fault);
    for (const id of ids) await land(catalog, id);
    for (const id of ids) {
      expect(states(id)).toEqual(['REGISTERED']);
      const seen =
        fault.kind === 'status' && fault.status === 401
          ? null
          : await catalog.get(id, { bundle: true, states: true });
      if (seen === null) continue;
      expect(seen).toMatchObject({ is_staged: true, size: 10, bundle: { digests: { blake3: 'cd' } } });
      expect(seen.states?.map(({ state }) => state)).toEqual(LANDED.toReversed());
    }
    double.heal();
    await empty(catalog);
    for (const id of ids) {
      expect(states(id)).toEqual(LANDED);
      expect(double.store.dataset(id)).toMatchObject({
        is_staged: true,
        size: 10n,
        archive_path: '/a/set.tar',
        metadata: { stage_alias: 'ff', num_genome_files: 0 },
        bundle: { name: 'set.tar', size: 20n },
      });
      expect(await catalog.get(id, { bundle: true })).toMatchObject({
        bundle: { digests: { blake3: 'cd' } },
      });
    }
  });

  test('what was carried out and not answered is not told twice', async () => {
    const { double, catalog, ids, states } = await begin();
    const id = ids[0] as number;
    for (const state of ['READY', 'ARCHIVED'] as const) {
      // Longer than the client repeats by itself: the entry comes back from the spool.
      double.fail('POST datasets/:id/states', { kind: 'commit-then-drop' }, 1);
      double.fail('GET', { kind: 'status', status: 503 }, 3);
      await catalog.addState(id, state);
      await empty(catalog);
    }
    expect(states(id)).toEqual(['REGISTERED', 'READY', 'ARCHIVED']);
  });

  test('it is asked seldom, not by every write', async () => {
    const { double, catalog, ids } = await begin();
    double.fail('', { kind: 'status', status: 503 });
    const before = double.calls.length;
    await catalog.spool.setHealth({ failures: 3, down_until: Date.now() + 600_000 });
    for (let n = 0; n < 20; n++) await catalog.addState(ids[0] as number, 'READY', { n });
    expect(double.calls.length).toBe(before);
    expect(await catalog.spool.waiting()).toBe(20);
  });

  test('a process that is killed with a full spool has it delivered by others, in order', async () => {
    const { double, place, catalog, ids } = await begin(['a', 'b']);
    double.fail('P', { kind: 'status', status: 503 });
    const doomed = startProcess(place, 'states-until-killed', ...ids.map(String));
    await until(() => doomed.lines.length >= 30);
    doomed.child.kill('SIGKILL');
    await doomed.ended;
    double.heal();
    await empty(catalog);
    for (const id of ids) {
      const turns = double.store
        .dataset(id)
        .states.flatMap(({ metadata }) => (metadata as { n?: number } | null)?.n ?? []);
      expect(turns.length).toBeGreaterThanOrEqual(30);
      expect(turns).toEqual(turns.map((_, n) => n));
    }
  });

  test('several processes deliver one spool, and tell nothing twice', async () => {
    const { double, place, catalog, ids } = await begin(['a', 'b', 'c']);
    double.fail('P', { kind: 'status', status: 503 });
    for (let n = 0; n < 40; n++) for (const id of ids) await catalog.addState(id, 'READY', { n });
    const others = await Promise.all([1, 2, 3].map(() => openStore(place.config)));
    for (const other of others) onTestFinished(() => other.close());
    double.heal();
    await empty(catalog);
    for (const id of ids) {
      const turns = double.store
        .dataset(id)
        .states.slice(1)
        .map(({ metadata }) => (metadata as { n: number }).n);
      expect(turns).toEqual(Array.from({ length: 40 }, (_, n) => n));
    }
  });
});

describe('what the API refuses for good', () => {
  test('is the error of who asked, and leaves nothing in the spool', async () => {
    const { double, catalog, ids } = await begin(['a', 'b']);
    const [a, b] = ids as [number, number];
    await expect(catalog.patch(a, { name: 'b' })).rejects.toMatchObject({
      code: 'E_DATASET_EXISTS',
      fields: { taken_by: b },
    });
    double.store.datasets.delete(b);
    await expect(catalog.addState(b, 'READY')).rejects.toMatchObject({ code: 'E_DATASET_NOT_FOUND' });
    expect(await catalog.spool.waiting()).toBe(0);
    expect(await catalog.spool.allRefused()).toEqual([]);
  });

  test('is set aside with its error when nobody waits for it, and what follows goes on', async () => {
    const { double, catalog, ids, states } = await begin();
    const id = ids[0] as number;
    double.fail('', { kind: 'status', status: 503 });
    await catalog.addState(id, 'READY');
    await catalog.addState(id, 'ARCHIVED');
    double.heal();
    double.fail('POST datasets/:id/states', { kind: 'status', status: 400 }, 1);
    await empty(catalog);
    expect(states(id)).toEqual(['REGISTERED', 'ARCHIVED']);
    expect(await catalog.spool.allRefused()).toMatchObject([
      { kind: 'state', body: { id, state: 'READY' }, error: expect.stringContaining('E_API_REQUEST') },
    ]);
  });
});

test('a dataset that the API has as 2^53 + 1 bytes is read, listed and left as it is', async () => {
  const { double, catalog, ids } = await begin();
  const id = ids[0] as number;
  const size = 2n ** 53n + 1n;
  Object.assign(double.store.dataset(id), { size, du_size: size });
  expect((await catalog.get(id)).size).toBe(size);
  expect((await catalog.list({})).datasets[0]?.du_size).toBe(size);
  await catalog.patch(id, { is_staged: true });
  expect(double.store.dataset(id)).toMatchObject({ size, du_size: size, is_staged: true });
});

test('start refuses the REST catalog without its address and token, and names both', async () => {
  await expect(makePlace({ catalog: { backend: 'rest' } })).rejects.toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringMatching(/API_BASE_URL[\s\S]*APP_API_TOKEN/),
  });
});

test('a clock that was ahead and is put right does not keep the API, or what it has to be told, waiting', async () => {
  const { double, catalog, ids, states } = await begin();
  const id = ids[0] as number;
  const now = Date.now();
  vi.useFakeTimers({ toFake: ['Date'], now: now + 400 * 86_400_000 });
  onTestFinished(() => void vi.useRealTimers());
  double.fail('', { kind: 'drop' });
  await catalog.addState(id, 'READY');
  await until(async () => (await catalog.spool.health()).failures > 0, { what: 'the API to be missed' });
  vi.setSystemTime(now);
  double.heal();
  await empty(catalog);
  expect(states(id)).toEqual(['REGISTERED', 'READY']);
});

import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import { refusalsOf } from '../../workers/watch/refusals.ts';
import { createRegistrar } from '../../workers/watch/registration.ts';
import { createScanners, scanOnce } from '../../workers/watch/watch.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { until } from '../support/until.ts';
import { setUp, signal } from './registration.ts';

describe('recovering', () => {
  test('a catalog that is away loses nothing: the folders are registered when it is back, without a restart', async () => {
    const { make, parts, setDown, datasets } = await setUp();
    make('a', 'b');
    const scanner = createScanners(parts)[0]?.scanner;
    setDown(true);
    await expect(scanner?.scan(signal)).rejects.toThrow('the catalog is away');
    await expect(scanner?.scan(signal)).rejects.toThrow('the catalog is away');
    setDown(false);
    expect(await scanner?.scan(signal)).toMatchObject({ added: 2, left: 0 });
    expect(await datasets()).toHaveLength(2);
  });

  test('a dataset that was left without a workflow gets one, and only one', async () => {
    const { place, make, store, scan, raw, enqueued } = await setUp({
      registration: { full_scan_every_n_scans: 1 },
    });
    make('left');
    await store.catalog.register(
      [
        {
          dataset: { name: 'left', type: 'RAW_DATA', origin_path: join(raw, 'left'), create_method: 'SCAN' },
        },
      ],
      'test',
    );
    expect((await store.records.listWorkflows({})).total).toBe(0);
    await scan();
    await scan();
    const { total, results } = await store.records.listWorkflows({});
    expect(total).toBe(1);
    expect(enqueued).toEqual([results[0]?.workflow.id]);
    expect(results[0]?.workflow.args).toEqual([1]);
    expect(place.config.registration.full_scan_every_n_scans).toBe(1);
  });

  test.each([{ archive_path: '/archive/old.tar' }, { is_staged: true }])(
    'a landed dataset whose old workflows were purged is not landed again: %o',
    async (landed) => {
      const { make, store, scan } = await setUp({ registration: { full_scan_every_n_scans: 1 } });
      make('old');
      await scan();
      const { results } = await store.records.listWorkflows({});
      await store.catalog.patch(1, landed);
      await store.records.deleteWorkflow(results[0]?.workflow.id ?? '');
      await scan();
      expect((await store.records.listWorkflows({})).total).toBe(0);
    },
  );

  test('a deleted dataset does not come back while its folder stays; a new folder of that name does', async () => {
    const { place, make, raw, store, scan, datasets } = await setUp({
      registration: { full_scan_every_n_scans: 1 },
    });
    make('gone');
    await scan();
    await store.catalog.patch(1, { is_deleted: true, name: 'gone-1' });
    await scan();
    await store.records.watch.apply(raw, { remove: ['gone'] });
    await scan();
    expect(await datasets()).toEqual([]);
    renameSync(join(raw, 'gone'), place.path('old'));
    // A file system stamps with the tick of its kernel, some milliseconds behind the clock.
    const { updated_at } = await store.catalog.get(1);
    await until(() => Date.now() > Date.parse(updated_at) + 50);
    make('gone');
    await scan();
    expect((await datasets()).map(({ id, name }) => [id, name])).toEqual([[2, 'gone']]);
    rmSync(place.path('old'), { recursive: true });
  });

  test('nor does one behind a thousand that were deleted since', async () => {
    const { make, raw, store, scan, datasets, place } = await setUp({
      registration: { full_scan_every_n_scans: 1 },
    });
    make('gone');
    await scan();
    await store.catalog.patch(1, { is_deleted: true, name: 'gone-1' });
    const names = Array.from({ length: 1001 }, (_, at) => `other-${at}`);
    const others = names.map((name) => ({
      dataset: { name, type: 'RAW_DATA', origin_path: place.path(name), create_method: 'SCAN' as const },
    }));
    await store.catalog.register(others, 'test');
    const database = new DatabaseSync(place.config.catalog.path, { timeout: 5_000 });
    database.exec('update datasets set is_deleted = 1 where id > 1');
    database.close();
    await store.records.watch.apply(raw, { remove: ['gone'] });
    await scan();
    expect(await datasets()).toEqual([]);
  });

  test('a queue that is away holds up no registration', async () => {
    const { make, parts, datasets } = await setUp();
    make('a', 'b');
    const enqueue = () => Promise.reject(new LongshoreError('E_REDIS_UNAVAILABLE', 'no answer'));
    await scanOnce({ ...parts, log: createLogger('quiet', {}, { level: 'silent' }), enqueue }, signal);
    expect(await datasets()).toHaveLength(2);
  });

  test('it is asked once for all that is registered together: each question would wait for it', async () => {
    const { parts, place, store } = await setUp({ registration: { batch_size: 2 } });
    let asked = 0;
    const enqueue = () => {
      asked += 1;
      return Promise.reject(new LongshoreError('E_REDIS_UNAVAILABLE', 'no answer'));
    };
    const log = createLogger('quiet', {}, { level: 'silent' });
    const registrar = createRegistrar({ ...parts, catalog: store.catalog, enqueue, log });
    const items = ['a', 'b', 'c'].map((name) => ({
      name,
      type: 'RAW_DATA',
      origin_path: place.path(name),
      create_method: 'SCAN' as const,
    }));
    const outcomes = await registrar.register(items, { workflow: 'integrated', actor: 'test' });
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['created', 'created', 'created']);
    expect(asked).toBe(1);
  });

  test('an item that cannot be recorded does not touch the others of its batch', async () => {
    const { parts, place, store } = await setUp();
    const registrar = createRegistrar({ ...parts, catalog: store.catalog });
    const item = (name: string) => ({
      name,
      type: 'RAW_DATA',
      origin_path: place.path(name),
      create_method: 'SCAN' as const,
    });
    const outcomes = await registrar.register([item('a'), item('/'), item('b')], {
      workflow: 'integrated',
      actor: 'test',
    });
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['created', 'failed', 'created']);
    expect(outcomes[1]).toMatchObject({ error: { code: 'E_NAME_UNSAFE' } });
  });

  test('a folder that could not be recorded for now comes again with the next scan', async () => {
    const { make, parts, datasets } = await setUp();
    make('a');
    const { catalog } = parts.store;
    const error = new LongshoreError('E_CATALOG_UNAVAILABLE', 'busy');
    let busy = true;
    const register: typeof catalog.register = async (...given) =>
      busy ? [{ outcome: 'errored', name: 'a', type: 'RAW_DATA', error }] : catalog.register(...given);
    const store = { ...parts.store, catalog: { ...catalog, register } };
    const log = createLogger('quiet', {}, { level: 'silent' });
    const scanner = createScanners({ ...parts, store, log })[0]?.scanner;
    expect(await scanner?.scan(signal)).toMatchObject({ added: 1, left: 1 });
    busy = false;
    expect(await scanner?.scan(signal)).toMatchObject({ added: 1, left: 0 });
    expect(await datasets()).toHaveLength(1);
  });

  test('a folder that could not be recorded and is gone is not told of any more', async () => {
    const {
      make,
      raw,
      parts,
      scan,
      store: own,
    } = await setUp({
      registration: { full_scan_every_n_scans: 1 },
    });
    make('kept');
    await scan();
    make('a');
    const error = new LongshoreError('E_CATALOG_UNAVAILABLE', 'busy');
    const register: Catalog['register'] = async (items) =>
      items.map(({ dataset: { name, type } }) => ({ outcome: 'errored', name, type, error }));
    const store = { ...parts.store, catalog: { ...parts.store.catalog, register } };
    await scanOnce({ ...parts, store, log: createLogger('quiet', {}, { level: 'silent' }) }, signal);
    const refused = async () => (await refusalsOf(own.records, raw)).folders.map(({ name }) => name);
    expect((await refused()).toSorted()).toEqual(['a', 'kept']);
    rmSync(join(raw, 'a'), { recursive: true });
    await scan();
    expect(await refused()).toEqual([]);
  });

  test('an unknown workflow is refused before anything is recorded', async () => {
    const { parts, place, datasets, store } = await setUp();
    const registrar = createRegistrar({ ...parts, catalog: store.catalog });
    const item = {
      name: 'a',
      type: 'RAW_DATA',
      origin_path: place.path('a'),
      create_method: 'SCAN' as const,
    };
    await expect(registrar.register([item], { workflow: 'nope', actor: 'test' })).rejects.toMatchObject({
      code: 'E_WORKFLOW_INVALID',
    });
    expect(await datasets()).toEqual([]);
    expect(() => buildWorkflow(place.config, 'nope', { dataset_id: 1, initiator: 'test' })).toThrow(
      'integrated',
    );
  });
});

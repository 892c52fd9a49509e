import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import { openStore } from '../../workers/store.ts';
import { scanOnce } from '../../workers/watch/watch.ts';
import { makePlace } from '../support/place.ts';

export const { signal } = new AbortController();
const log = createLogger('test', {}, { level: 'error' });

/** A log that can be read. */
export function listen(file: string) {
  const told = () =>
    readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { folder?: string; msg: string });
  return { told, log: createLogger('test', {}, { to: file }) };
}

/** A source of each type, and a scan of both. */
export async function setUp(overrides: Record<string, unknown> = {}) {
  const place = await makePlace(overrides);
  const raw = place.dir('data/source/raw_data');
  const product = place.dir('data/source/data_products');
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const enqueued: string[] = [];
  const calls: number[] = [];
  let down = false;
  const catalog: Catalog = {
    ...store.catalog,
    register: async (items, actor) => {
      if (down) throw new LongshoreError('E_CATALOG_UNAVAILABLE', 'the catalog is away');
      calls.push(items.length);
      return store.catalog.register(items, actor);
    },
  };
  const parts = {
    config: place.config,
    store: { ...store, catalog },
    enqueue: async (id: string) => enqueued.push(id),
    log,
  };
  return {
    place,
    raw,
    product,
    store,
    enqueued,
    calls,
    parts,
    make: (...names: string[]) => names.forEach((name) => mkdirSync(join(raw, name))),
    /** As after a restart: nothing is kept but what is stored. */
    scan: () => scanOnce(parts, signal),
    datasets: async () => (await store.catalog.list({})).datasets.toSorted((a, b) => a.id - b.id),
    setDown: (value: boolean) => {
      down = value;
    },
  };
}

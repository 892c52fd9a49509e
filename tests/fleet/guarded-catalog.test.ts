import { expect, test } from 'vitest';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { guardCatalog } from '../../workers/fleet/isolation/guarded-catalog.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';

const WRITES = [
  'addProof',
  'addState',
  'attachWorkflow',
  'patch',
  'putCopy',
  'putFiles',
  'putReport',
  'register',
  'removeCopy',
  'sweepFiles',
];

test('who has lost its job can read the catalog, and write nothing to it', async () => {
  const place = await makePlace();
  const store = await openStore(place.config);
  const names = Object.keys(store.catalog).filter((name) => name !== 'capabilities' && name !== 'close');
  await store.close();
  const reached: string[] = [];
  const method = (name: string) => async () => void reached.push(name);
  const catalog = Object.fromEntries(names.map((name) => [name, method(name)])) as unknown as Catalog;
  const lost = guardCatalog(catalog, async () => {
    throw new LongshoreError('E_LEASE_LOST', 'this attempt may not publish');
  });
  const held = guardCatalog(catalog, async () => void reached.push('asked'));
  const call = async (guarded: Catalog, name: string): Promise<unknown> =>
    (guarded as unknown as Record<string, () => Promise<unknown>>)[name]?.();
  for (const name of names) {
    const ended = await call(lost, name).catch((error: LongshoreError) => error.code);
    expect([name, ended]).toEqual([name, WRITES.includes(name) ? 'E_LEASE_LOST' : undefined]);
  }
  expect(reached).toEqual(names.filter((name) => !WRITES.includes(name)));
  reached.length = 0;
  for (const name of WRITES) await call(held, name);
  expect(reached).toEqual(WRITES.flatMap((name) => ['asked', name]));
});

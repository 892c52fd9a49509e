/** Failed workflows of datasets that were deleted wait for nobody. */
import { expect, onTestFinished, test } from 'vitest';
import type { DatasetPatch } from '../../workers/catalog/contract.ts';
import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { dismissDeleted } from '../../workers/workflows/dismissal.ts';
import { failure } from '../records/fixture.ts';
import { makeWorkflow } from '../records/workflow.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

const DELETED: DatasetPatch = { is_deleted: true };

async function setUp() {
  const place = await makePlace();
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  return { ...place, place, store };
}

/** A failed workflow of a dataset of its own, which was then changed. */
async function makeFailed(
  { config, store }: { config: Config; store: Store },
  name: string,
  change: DatasetPatch = {},
  task = 'stage_dataset',
): Promise<string> {
  const dataset = { name, type: 'RAW_DATA', origin_path: `/${name}`, create_method: 'TEST' as const };
  const [answer] = await store.catalog.register([{ dataset }], 'test');
  if (answer?.outcome !== 'created') throw new Error('not registered');
  const { id: dataset_id } = answer.dataset;
  const workflow = makeWorkflow({ app_id: config.app_id, dataset_id, steps: [{ name: 'only', task }] });
  await store.records.createWorkflow(workflow);
  const claim = { workflow_id: workflow.id, index: 0, worker: 'w', host: 'h' };
  const claimed = await store.records.claim(claim, { max_losses: 3 });
  if (claimed.verdict !== 'run') throw new Error(claimed.verdict);
  await store.records.finish(claimed.key, { outcome: 'failure', error: failure });
  await store.catalog.patch(dataset_id, change);
  return workflow.id;
}

test('what failed of a deleted dataset is dismissed, with the reason in its history', async () => {
  const ground = await setUp();
  const { config, store, place } = ground;
  await makeFailed(ground, 'living');
  const moot = await makeFailed(ground, 'gone', DELETED);
  expect(await dismissDeleted({ config, store }, { dry_run: true })).toEqual([moot]);
  expect(await dismissDeleted({ config, store })).toEqual([moot]);
  expect(await dismissDeleted({ config, store })).toEqual([]);
  expect(await store.records.auditLog({ subject: `workflow:${moot}` })).toMatchObject([
    { actor: 'reconcile', action: 'workflow.revoke', details: { reason: 'its dataset was deleted' } },
  ]);
  const { stdout } = await runScript('longshore.ts', ['show', moot], place.env);
  expect(stdout).toMatch(/^revoke +by reconcile, .*: its dataset was deleted$/m);
  expect(stdout).toMatch(/^dataset +\d+ gone \(deleted\)$/m);
});

test('a deletion that failed, and a dataset whose bundle is still archived, go on waiting for a person', async () => {
  const ground = await setUp();
  await makeFailed(ground, 'half', DELETED, 'delete_dataset');
  await makeFailed(ground, 'archived', { ...DELETED, archive_path: 'raw/archived.tar' });
  expect(await dismissDeleted(ground)).toEqual([]);
});

test('one that is resumed meanwhile goes on', async () => {
  const { config, store } = await setUp();
  const id = await makeFailed({ config, store }, 'gone', DELETED);
  const catalog = {
    ...store.catalog,
    get: async (dataset_id: number) => {
      await store.records.resume(id, { actor: 'ana', force: false, lock_seconds: 60 });
      return store.catalog.get(dataset_id);
    },
  };
  await dismissDeleted({ config, store: { ...store, catalog } });
  expect((await store.records.workflow(id))?.revoked_at).toBeNull();
});

test('a catalog that does not answer is asked once, and nothing is dismissed', async () => {
  const { config, store } = await setUp();
  for (const name of ['one', 'two']) await makeFailed({ config, store }, name, DELETED);
  let asked = 0;
  const get = async () => {
    asked += 1;
    throw new LongshoreError('E_API_UNAVAILABLE', 'away');
  };
  const away = { ...store, catalog: { ...store.catalog, get } };
  expect(await dismissDeleted({ config, store: away })).toEqual([]);
  expect(asked).toBe(1);
});

test('status lists it no more once `reconcile` has looked', async () => {
  const ground = await setUp();
  const id = await makeFailed(ground, 'gone', DELETED);
  const run = (...args: string[]) => runScript('longshore.ts', args, ground.place.env);
  expect((await run('status')).stdout).toMatch(/gone \(deleted\) +only/);
  expect((await run('reconcile')).stdout).toContain(`dismissed ${id}: its dataset was deleted\n`);
  expect((await run('status')).stdout).not.toContain('Waiting for a person');
});

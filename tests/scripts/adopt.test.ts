/** A catalog that was lost: what the archives hold is recorded again from its manifests, without the origins. */
import { renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { loadTask } from '../../workers/tasks/registry.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { makeContext } from '../tasks/context.ts';
import { fingerprint, makeLanding } from '../tasks/landing.ts';
import { runScript } from '../support/script.ts';

const files = {
  'a.txt': 'alpha',
  'sub/b.bin': Buffer.alloc(300_000, 7),
  'sub/link': { link: 'b.bin' },
  empty: null,
};

/** Landed, and then neither origin nor catalog nor staged copy is there: only what the archive holds. */
async function onlyArchived() {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  const { place } = landing;
  const tree = fingerprint(landing.origin);
  const before = await landing.dataset();
  await landing.store.close();
  for (const part of ['', '-wal', '-shm']) rmSync(`${place.config.catalog.path}${part}`, { force: true });
  renameSync(landing.origin, place.path('origin.away'));
  const key = before.archive_path ?? '';
  const adopt = (...args: string[]) =>
    runScript('longshore.ts', ['adopt', key, '--dataset-type', 'RAW_DATA', ...args], place.env);
  const opened = async () => {
    const store = await openStore(place.config);
    onTestFinished(() => store.close());
    return store;
  };
  return { place, origin: landing.origin, tree, before, key, adopt, opened };
}

test('a bundle is recorded from its manifest alone, and is staged, validated and proven as before the loss', async () => {
  const { place, origin, tree, before, key, adopt, opened } = await onlyArchived();
  expect(await adopt()).toMatchObject({ code: 0, stdout: expect.stringContaining('recorded as dataset 1') });
  const store = await opened();
  const after = await store.catalog.get(1, { bundle: true });
  const kept = (dataset: typeof before) =>
    (['name', 'type', 'origin_path', 'archive_path', 'size', 'num_files', 'num_directories'] as const).map(
      (name) => dataset[name],
    );
  expect(kept(after)).toEqual(kept(before));
  expect(after.bundle).toEqual(before.bundle);
  expect(after.origin_path).toBe(origin);
  expect(await store.catalog.countFiles(1)).toBe(3);
  expect(await store.catalog.copies(1)).toEqual([
    expect.objectContaining({ archive: 'filesystem', key, verified_at: null }),
  ]);
  const notes = { lines: [], tools: [], audit: [], progress: [] };
  for (const name of ['stage_dataset', 'validate_dataset'])
    await (await loadTask(name)).run(makeContext({ config: place.config, store, id: 1, run: {}, notes }));
  const staged = await store.catalog.get(1, { bundle: true });
  expect(staged).toMatchObject({ is_staged: true, bundle: { verified_at: expect.any(String) } });
  expect(fingerprint(staged.staged_path ?? '')).toBe(tree);
});

test('a dry run records nothing, a second time changes nothing, and the history tells who did it', async () => {
  const { adopt, opened } = await onlyArchived();
  await (await opened()).close();
  expect(await adopt('--dry-run')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('would be recorded'),
  });
  const store = await opened();
  expect((await store.catalog.list({})).count).toBe(0);
  expect((await adopt('--json')).code).toBe(0);
  const first = await store.catalog.get(1, { bundle: true });
  const again = await adopt('--json');
  expect(JSON.parse(again.stdout)).toMatchObject({ outcome: 'present', dataset_id: 1, files: 3 });
  expect(await store.catalog.get(1, { bundle: true })).toEqual(first);
  const told = await store.records.auditLog({ subject: 'dataset:1' });
  expect(told.filter(({ action }) => action === 'dataset.adopt')).toHaveLength(1);
});

test('a path that is typed from where a person stands is recorded as the whole path it is', async () => {
  const { place, key, opened } = await onlyArchived();
  const typed = `./${basename(key)}`;
  const args = ['adopt', typed, '--dataset-type', 'RAW_DATA'];
  const env = { ...place.env, INIT_CWD: dirname(key) };
  expect(await runScript('longshore.ts', args, env)).toMatchObject({ code: 0 });
  const store = await opened();
  expect((await store.catalog.get(1)).archive_path).toBe(key);
  expect(await store.catalog.copies(1)).toMatchObject([{ key }]);
});

test('a dataset that was registered anew gets its bundle, unless a workflow works on it', async () => {
  const { place, origin, key, adopt, opened } = await onlyArchived();
  const store = await opened();
  const dataset = { name: 'run_A', type: 'RAW_DATA', origin_path: origin, create_method: 'SCAN' as const };
  await store.catalog.register([{ dataset }], 'watch');
  const workflow = buildWorkflow(place.config, 'archive', { dataset_id: 1, initiator: 'watch' });
  await store.catalog.attachWorkflow(1, workflow);
  expect(await adopt()).toMatchObject({ code: 4, stderr: expect.stringContaining(workflow.id) });
  expect((await store.catalog.get(1)).archive_path).toBeNull();
  await store.records.deleteWorkflow(workflow.id);
  expect((await adopt()).code).toBe(0);
  expect((await store.catalog.get(1)).archive_path).toBe(key);
});

test.each<[string, string, (bundle: string) => void]>([
  ['a bundle without a manifest', 'E_BUNDLE_UNKNOWN', (bundle) => rmSync(`${bundle}.manifest.ndjson`)],
  ['a bundle that was cut short', 'E_BUNDLE_CORRUPT', (bundle) => truncateSync(bundle, 1000)],
  [
    'a manifest that was cut short',
    'E_BUNDLE_CORRUPT',
    (bundle) => truncateSync(`${bundle}.manifest.ndjson`, 99),
  ],
  ['a bundle that is not there', 'E_BUNDLE_MISSING', (bundle) => rmSync(bundle)],
])('%s is not recorded', async (_, code, damage) => {
  const { key, adopt, opened } = await onlyArchived();
  damage(key);
  expect(await adopt()).toMatchObject({ code: 1, stderr: expect.stringContaining(code) });
  expect((await (await opened()).catalog.list({})).count).toBe(0);
});

test('an origin that was given up in part does not take the place of what was adopted, proven or not', async () => {
  const { place, origin, key, adopt, opened } = await onlyArchived();
  renameSync(place.path('origin.away'), origin);
  rmSync(join(origin, 'a.txt'));
  expect((await adopt()).code).toBe(0);
  const store = await opened();
  const { size } = statSync(key);
  const notes = { lines: [], tools: [], audit: [], progress: [] };
  const context = makeContext({ config: place.config, store, id: 1, run: {}, notes });
  await expect((await loadTask('archive_dataset')).run(context)).rejects.toMatchObject({
    code: 'E_ORIGIN_REDUCED',
  });
  expect(statSync(key).size).toBe(size);
});

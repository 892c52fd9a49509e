import { existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, onTestFinished, test } from 'vitest';
import { downloadLinksOf, stagedBundleOf, stagedPathOf } from '../../workers/dataset/paths.ts';
import { openStore } from '../../workers/store.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

async function setUp(overrides: Record<string, unknown> = {}) {
  const place = await makePlace({ stage: { purge: { days_to_live: 20, max_purges: 10 } }, ...overrides });
  const { config } = place;
  const store = await openStore(config);
  onTestFinished(() => store.close());

  /** As stage and setup_download leave it, `days` ago. */
  async function staged(name: string, days: number) {
    const item = {
      name,
      type: 'RAW_DATA',
      origin_path: place.path('origin', name),
      create_method: 'TEST' as const,
    };
    const [answer] = await store.catalog.register([{ dataset: item }], 'test');
    if (answer?.outcome !== 'created') throw new Error(`${name} was not registered`);
    const { dataset } = answer;
    const path = stagedPathOf(config, dataset);
    const bundle = stagedBundleOf(config, dataset);
    const links = downloadLinksOf(config, dataset);
    for (const folder of [join(path, 'deep'), dirname(bundle), dirname(links.tree)])
      mkdirSync(folder, { recursive: true });
    writeFileSync(join(path, 'deep/file'), 'x');
    writeFileSync(bundle, 'tar');
    symlinkSync(path, links.tree);
    symlinkSync(bundle, links.bundle);
    await store.catalog.patch(dataset.id, {
      is_staged: true,
      staged_path: path,
      archive_path: `/archive/${name}.tar`,
      size: 1,
    });
    await store.catalog.addState(dataset.id, 'STAGED');
    // Back-dated in the file itself: nobody can wait three weeks.
    const database = new DatabaseSync(config.catalog.path);
    const at = new Date(Date.now() - days * 86_400_000).toISOString();
    database
      .prepare(`update dataset_states set timestamp = ? where dataset_id = ? and state = 'STAGED'`)
      .run(at, dataset.id);
    database.close();
    return { id: dataset.id, path, bundle, links };
  }
  const purge = (...args: string[]) => runScript('purge_staged_datasets.ts', args, place.env);
  const statesOf = async (id: number) => (await store.catalog.states(id)).map(({ state }) => state);
  return { place, config, store, staged, purge, statesOf };
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

describe('purging staged copies', () => {
  test('one that has outlived its days goes with bundle, links and alias folder; a younger one stays', async () => {
    const { store, staged, purge, statesOf } = await setUp();
    const old = await staged('old', 21);
    const young = await staged('young', 19);
    expect((await purge()).code).toBe(0);
    for (const path of [old.path, dirname(old.path), old.bundle, old.links.tree, old.links.bundle])
      expect(isThere(path)).toBe(false);
    for (const path of [young.path, young.bundle, young.links.tree, young.links.bundle])
      expect(isThere(path)).toBe(true);
    expect(await store.catalog.get(old.id)).toMatchObject({
      is_staged: false,
      staged_path: null,
      archive_path: '/archive/old.tar',
    });
    expect((await statesOf(old.id))[0]).toBe('PURGED');
    expect(await statesOf(young.id)).not.toContain('PURGED');
    expect(await store.records.auditLog({ subject: `dataset:${old.id}` })).toContainEqual(
      expect.objectContaining({ action: 'dataset.purge' }),
    );
  });

  test('the cap holds, and those staged longest ago go first', async () => {
    const { staged, purge, statesOf } = await setUp({
      stage: { purge: { days_to_live: 20, max_purges: 2 } },
    });
    const [c, a, b] = [await staged('c', 30), await staged('a', 50), await staged('b', 40)];
    const first = await purge('--json');
    expect(JSON.parse(first.stdout)).toMatchObject({ datasets: [{ name: 'a' }, { name: 'b' }], left: 1 });
    expect(isThere(c.path)).toBe(true);
    expect([isThere(a.path), isThere(b.path)]).toEqual([false, false]);
    await purge();
    expect((await statesOf(c.id))[0]).toBe('PURGED');
  });

  test('a recorded path outside the stage folder is refused, also by way of a link, and uses up no place', async () => {
    const { place, config, store, staged, purge, statesOf } = await setUp({
      stage: { purge: { days_to_live: 20, max_purges: 1 } },
    });
    const outside = place.dir('precious');
    writeFileSync(join(outside, 'file'), 'x');
    const wrong = await staged('wrong', 40);
    await store.catalog.patch(wrong.id, { staged_path: outside });
    const linked = await staged('linked', 39);
    symlinkSync(place.dir('elsewhere'), join(config.paths.RAW_DATA.stage, 'way-out'));
    mkdirSync(place.path('elsewhere/tree'));
    await store.catalog.patch(linked.id, { staged_path: join(config.paths.RAW_DATA.stage, 'way-out/tree') });
    const stage = await staged('stage', 38);
    await store.catalog.patch(stage.id, { staged_path: config.paths.RAW_DATA.stage });
    const good = await staged('good', 30);
    const done = await purge('--json');
    expect(done.code).toBe(1);
    expect(JSON.parse(done.stdout)).toMatchObject({
      datasets: [
        { outcome: 'refused' },
        { outcome: 'refused' },
        { outcome: 'refused' },
        { name: 'good', outcome: 'purged' },
      ],
    });
    expect(existsSync(join(outside, 'file'))).toBe(true);
    expect(existsSync(place.path('elsewhere/tree'))).toBe(true);
    expect(isThere(good.path)).toBe(false);
    expect(await statesOf(wrong.id)).not.toContain('PURGED');
  });

  test('a copy without an archived one, or that a workflow works on, stays', async () => {
    const { config, store, staged, purge } = await setUp();
    const only = await staged('only', 40);
    await store.catalog.patch(only.id, { archive_path: null });
    const busy = await staged('busy', 40);
    await store.records.createWorkflow(
      buildWorkflow(config, 'stage', { dataset_id: busy.id, initiator: 'test' }),
    );
    const done = await purge();
    expect(done.stdout).toMatch(/E_NOT_ARCHIVED/);
    expect(done.stdout).toMatch(/E_WORKFLOW_STATE/);
    expect([isThere(only.path), isThere(busy.path)]).toEqual([true, true]);
  });

  test('a dry run tells the same and touches nothing', async () => {
    const { config, store, staged, purge, statesOf } = await setUp();
    const old = await staged('old', 21);
    const before = await store.catalog.get(old.id, { states: true });
    const done = await purge('--dry-run');
    expect(done).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/would purge.*nothing was changed/s),
    });
    expect(await store.catalog.get(old.id, { states: true })).toEqual(before);
    expect(isThere(old.links.tree)).toBe(true);
    expect(readdirSync(config.paths.RAW_DATA.stage)).toHaveLength(1);
    expect(await statesOf(old.id)).not.toContain('PURGED');
  });

  test('a run that was killed half way is completed by the next', async () => {
    const { staged, purge, store, statesOf } = await setUp();
    const half = await staged('half', 30);
    const { rmSync, unlinkSync } = await import('node:fs');
    unlinkSync(half.links.tree);
    rmSync(half.path, { recursive: true });
    expect((await purge()).code).toBe(0);
    expect(isThere(half.bundle)).toBe(false);
    expect(await store.catalog.get(half.id)).toMatchObject({ is_staged: false });
    expect((await statesOf(half.id))[0]).toBe('PURGED');
  });
});

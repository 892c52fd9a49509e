import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, onTestFinished, test } from 'vitest';
import { downloadLinksOf, stagedBundleOf, stagedPathOf } from '../../workers/dataset/paths.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { runScript } from '../support/script.ts';

const FOREVER = { until: null, by: 'ann', reason: null };

interface Staged {
  id: number;
  path: string;
  bundle: string;
  archived: string;
  links: { tree: string; bundle: string };
}

async function setUp(purgeConfig: Record<string, unknown> = {}) {
  const fleet = await makeFleet({ stage: { purge: { days_to_live: 20, max_purges: 10, ...purgeConfig } } });
  const { place, store } = fleet;
  const { config } = place;

  /** As stage and setup_download leave it, `days` ago, of `size` bytes. */
  async function staged(name: string, days: number, { size = 1, type = 'RAW_DATA' } = {}): Promise<Staged> {
    const item = { name, type, origin_path: place.path('origin', name), create_method: 'TEST' as const };
    const [answer] = await store.catalog.register([{ dataset: item }], 'test');
    if (answer?.outcome !== 'created') throw new Error(`${name} was not registered`);
    const { dataset } = answer;
    mkdirSync(dirname(dirname(stagedPathOf(config, dataset))), { recursive: true });
    const path = stagedPathOf(config, dataset);
    const bundle = stagedBundleOf(config, dataset);
    const links = downloadLinksOf(config, dataset);
    const archived = place.path('data/archive/2026/raw_data', `${name}.tar`);
    for (const folder of [join(path, 'deep'), dirname(bundle), dirname(links.tree), dirname(archived)])
      mkdirSync(folder, { recursive: true });
    writeFileSync(join(path, 'deep/file'), Buffer.alloc(size, 'x'));
    for (const file of [bundle, archived]) writeFileSync(file, 'tar');
    symlinkSync(path, links.tree);
    symlinkSync(bundle, links.bundle);
    await store.catalog.patch(dataset.id, {
      is_staged: true,
      staged_path: path,
      archive_path: archived,
      size,
      bundle: { name: `${name}.tar`, size: 3, md5: null, digests: {}, verified_at: new Date().toISOString() },
    });
    await store.catalog.addState(dataset.id, 'STAGED');
    // Back-dated in the file itself: nobody can wait three weeks.
    const database = new DatabaseSync(config.catalog.path);
    const at = new Date(Date.now() - days * 86_400_000).toISOString();
    database
      .prepare(`update dataset_states set timestamp = ? where dataset_id = ? and state = 'STAGED'`)
      .run(at, dataset.id);
    database.close();
    return { id: dataset.id, path, bundle, archived, links };
  }
  const purge = (...args: string[]) => runScript('purge_staged_datasets.ts', args, place.env);
  const json = async (...args: string[]) => {
    const done = await purge(...args, '--json');
    return { ...done, answer: JSON.parse(done.stdout) as Answer };
  };
  const statesOf = async (id: number) => (await store.catalog.states(id)).map(({ state }) => state);
  return { fleet, place, config, store, staged, purge, json, statesOf };
}

interface Answer {
  datasets: { name: string; outcome: string; reason: string; note: string }[];
  plans?: { workflow: string; steps: { removes: { path: string }[] }[] }[];
  left: number;
  pinned: number;
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;
const everything = ({ path, bundle, links }: Staged): string[] => [
  path,
  dirname(path),
  bundle,
  links.tree,
  links.bundle,
];
const outcomes = ({ datasets }: Answer) => datasets.map(({ name, outcome }) => [name, outcome]);

describe('purging staged copies', () => {
  test('one that has outlived its days goes with bundle, links and alias folder; a younger one stays', async () => {
    const { fleet, store, staged, purge, statesOf } = await setUp({
      types: { DATA_PRODUCT: { days_to_live: 40 } },
    });
    const old = await staged('old', 21);
    const young = await staged('young', 19);
    const product = await staged('product', 30, { type: 'DATA_PRODUCT' });
    await fleet.worker();
    expect((await purge()).code).toBe(0);
    expect(everything(old).filter(isThere)).toEqual([]);
    for (const one of [young, product]) expect(everything(one).every(isThere)).toBe(true);
    expect(await store.catalog.get(old.id)).toMatchObject({
      is_staged: false,
      staged_path: null,
      archive_path: old.archived,
    });
    expect((await store.catalog.states(old.id))[0]).toMatchObject({
      state: 'PURGED',
      metadata: { reason: expect.stringContaining('lives 20 days') },
    });
    expect(await statesOf(young.id)).not.toContain('PURGED');
    expect(await store.records.auditLog({ subject: `dataset:${old.id}` })).toContainEqual(
      expect.objectContaining({ action: 'dataset.purge', actor: 'task:purge_dataset' }),
    );
  });

  test('the cap holds with a warning, those staged longest ago go first, and those in use or pinned stay', async () => {
    const { fleet, config, store, staged, json, statesOf } = await setUp({ max_purges: 2 });
    const [c, a, b] = [await staged('c', 30), await staged('a', 50), await staged('b', 40)];
    const pinned = await staged('pinned', 60);
    await store.catalog.patch(pinned.id, { metadata: { pinned: FOREVER } });
    const busy = await staged('busy', 70);
    await store.records.createWorkflow(
      // Of a queue that nobody listens to: it stays at work.
      { ...buildWorkflow(config, 'stage', { dataset_id: busy.id, initiator: 'test' }), app_id: 'elsewhere' },
    );
    await fleet.worker();
    const first = await json();
    expect(first.code).toBe(0);
    expect(outcomes(first.answer)).toEqual([
      ['busy', 'kept'],
      ['a', 'purged'],
      ['b', 'purged'],
    ]);
    expect(first.answer).toMatchObject({ left: 1, pinned: 1 });
    expect(first.stderr).toContain('more staged copies are due');
    expect([c, pinned, busy].flatMap(everything).every(isThere)).toBe(true);
    expect([a, b].flatMap(everything).filter(isThere)).toEqual([]);
    await json();
    expect((await statesOf(c.id))[0]).toBe('PURGED');
    expect(await statesOf(pinned.id)).not.toContain('PURGED');
  });

  test('a recorded path outside the stage folder is refused, also by way of a link, and uses up no place', async () => {
    const { fleet, place, config, store, staged, json, statesOf } = await setUp({ max_purges: 1 });
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
    await fleet.worker();
    const { code, answer } = await json();
    expect(code).toBe(1);
    expect(outcomes(answer)).toEqual([
      ['wrong', 'refused'],
      ['linked', 'refused'],
      ['stage', 'refused'],
      ['good', 'purged'],
    ]);
    expect(existsSync(join(outside, 'file'))).toBe(true);
    expect(existsSync(place.path('elsewhere/tree'))).toBe(true);
    expect(isThere(good.path)).toBe(false);
    expect(await statesOf(wrong.id)).not.toContain('PURGED');
  });

  test('without a proven bundle in a reachable archive the staged copy stays, with a warning', async () => {
    const { fleet, place, store, staged, json } = await setUp();
    const never = await staged('never', 50);
    await store.catalog.patch(never.id, { archive_path: null, bundle: null });
    const gone = await staged('gone', 40);
    unlinkSync(gone.archived);
    const short = await staged('short', 30);
    writeFileSync(short.archived, 't');
    writeFileSync(place.path('data/archive/.longshore-archive'), '');
    await fleet.worker();
    const { code, stderr, answer } = await json();
    expect(code).toBe(1);
    expect(answer.datasets.map(({ outcome, note }) => [outcome, note.split(':')[0]])).toEqual([
      ['refused', 'E_NOT_ARCHIVED'],
      ['refused', 'E_BUNDLE_MISSING'],
      ['refused', 'E_BUNDLE_CORRUPT'],
    ]);
    expect(stderr.match(/a staged copy was not purged/g)).toHaveLength(3);
    expect([never, gone, short].flatMap(everything).every(isThere)).toBe(true);
    expect((await store.records.listWorkflows({ name: 'purge' })).total).toBe(0);
  });

  test('a dry run plans the same and touches nothing; without a worker nothing is begun', async () => {
    const { config, store, staged, purge, json, statesOf } = await setUp();
    const old = await staged('old', 21);
    const before = await store.catalog.get(old.id, { states: true });
    const done = await purge('--dry-run');
    expect(done).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/would purge.*remove .*nothing was changed/s),
    });
    const { answer } = await json('--dry_run=True');
    const removed = answer.plans?.[0]?.steps.flatMap(({ removes }) => removes.map(({ path }) => path));
    expect(removed?.toSorted()).toEqual(everything(old).toSorted());
    expect(await purge()).toMatchObject({ code: 5, stderr: expect.stringContaining('E_NO_WORKER') });
    expect(await store.catalog.get(old.id, { states: true })).toEqual(before);
    expect(everything(old).every(isThere)).toBe(true);
    expect(readdirSync(config.paths.RAW_DATA.stage)).toHaveLength(1);
    expect(await statesOf(old.id)).not.toContain('PURGED');
    expect((await store.records.listWorkflows({})).total).toBe(0);
  });

  test('a purge that was killed half way is completed by the next', async () => {
    const { fleet, staged, purge, store, statesOf } = await setUp();
    const half = await staged('half', 30);
    unlinkSync(half.links.tree);
    rmSync(half.path, { recursive: true });
    await fleet.worker();
    expect((await purge()).code).toBe(0);
    expect(isThere(half.bundle)).toBe(false);
    expect(await store.catalog.get(half.id)).toMatchObject({ is_staged: false });
    expect((await statesOf(half.id))[0]).toBe('PURGED');
  });
});

/** A file system of 20 MiB, or null where mounting is not permitted. */
function mountSmall(fleet: Fleet): string | null {
  const folder = fleet.place.dir('data/staged');
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', folder]).status !== 0) return null;
  onTestFinished(() => void spawnSync('umount', ['-l', folder]));
  return folder;
}

test('a full stage file system: those staged longest ago go, to the lower mark; pinned and fresh ones stay', async (context) => {
  const { fleet, store, staged, json } = await setUp({
    pressure: { high_percent: 75, low_percent: 45, min_age_days: 1 },
  });
  if (mountSmall(fleet) === null)
    return context.skip(
      'NOT TESTED: a tmpfs cannot be mounted here; full stage file systems are not provoked',
    );
  const size = 4 * 1024 ** 2;
  const pinned = await staged('pinned', 9, { size });
  await store.catalog.patch(pinned.id, { metadata: { pinned: FOREVER } });
  const [second, first] = [await staged('second', 4, { size }), await staged('first', 5, { size })];
  const fresh = await staged('fresh', 0.5, { size });
  await fleet.worker();
  const planned = await json('--dry-run');
  expect(outcomes(planned.answer)).toEqual([
    ['first', 'would purge'],
    ['second', 'would purge'],
  ]);
  const { code, answer, stderr } = await json();
  expect(code).toBe(0);
  expect(outcomes(answer)).toEqual([
    ['first', 'purged'],
    ['second', 'purged'],
  ]);
  expect(answer.datasets[0]?.reason).toMatch(/8\d\.\d% full, above 75%/);
  expect([first, second].flatMap(everything).filter(isThere)).toEqual([]);
  expect([pinned, fresh].flatMap(everything).every(isThere)).toBe(true);
  expect((await store.catalog.states(first.id))[0]).toMatchObject({
    state: 'PURGED',
    metadata: { reason: expect.stringContaining('above 75%') },
  });
  expect(stderr).not.toContain('still full');
  // At rest below the mark: nothing more goes.
  expect((await json()).answer.datasets).toEqual([]);
  // Full again with what may not go: it is said.
  writeFileSync(join(fleet.place.path('data/staged'), 'foreign'), Buffer.alloc(9 * 1024 ** 2));
  const full = await json();
  expect(full.answer.datasets).toEqual([]);
  expect(full.stderr).toContain('a stage file system is still full');
  // What goes by its age already is not chosen for its space as well.
  await staged('small', 30, { size: 1024 });
  expect(outcomes((await json('--dry-run', '--days-to-live', '29')).answer)).toEqual([
    ['small', 'would purge'],
  ]);
});

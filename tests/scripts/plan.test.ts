import { spawnSync } from 'node:child_process';
import { readFileSync, mkdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import type { Plan } from '../../scripts/plan/model.ts';
import { planWorkflow } from '../../scripts/plan/plan.ts';
import { expectation, expectedOf } from '../../scripts/plan/rates.ts';
import { stagedCopyOf } from '../../workers/content/staged-copy.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';
import { loadTask } from '../../workers/tasks/registry.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { runScript } from '../support/script.ts';
import { makeContext } from '../tasks/context.ts';
import { type Landing, makeLanding, unmount } from '../tasks/landing.ts';

const files = { 'a.txt': 'alpha', 'sub/b.bin': Buffer.alloc(300_000, 7) };
const SIZE = 300_005;

/** Only the registration, as after a landing that failed at once. */
const registered = (config: Record<string, unknown> = {}): Promise<Landing> => makeLanding(files, { config });

async function landed(config: Record<string, unknown> = {}): Promise<Landing> {
  const landing = await registered(config);
  await landing.upTo('setup_dataset_download');
  return landing;
}

const plan = async (landing: Landing, workflow: string, force = false): Promise<Plan> =>
  planWorkflow({ config: landing.place.config, store: landing.store }, workflow, await landing.dataset(), {
    force,
  });

const stopsOf = ({ stops }: Plan): string[] => stops.map(({ code }) => code);

/** Everything that a command could have changed: folders with times and bytes, all rows, all keys of Redis. */
async function traces({ place }: Landing): Promise<string> {
  const script = `cd "$1" && find . ! -name '*.db*' ! -path './cache*' -printf '%p %y %s %m %T@ %C@ %l\\n' | LC_ALL=C sort; find data -type f -print0 | LC_ALL=C sort -z | xargs -0 -r b2sum`;
  const folders = spawnSync('sh', ['-c', script, 'sh', place.folder], { encoding: 'utf8' });
  if (folders.status !== 0) throw new Error(folders.stderr);
  const redis = new Redis(inject('redis'));
  const keys = (await redis.keys(`*${place.config.queue.prefix}*`)).toSorted();
  redis.disconnect();
  return [folders.stdout, ...rowsOf(place.config), ...keys].join('\n');
}

function rowsOf(config: Config): string[] {
  const database = new DatabaseSync(config.catalog.path, { readOnly: true });
  const tables = database.prepare(`select name from sqlite_master where type = 'table' order by name`).all();
  const rows = tables.map(({ name }) => {
    const all = database.prepare(`select * from "${String(name)}"`).all();
    return `${String(name)} ${JSON.stringify(all)}`;
  });
  database.close();
  return rows;
}

test('dry runs of stage, archive, purge and delete tell bytes, places and room, and leave no trace', async () => {
  const landing = await landed();
  const { archive_path, bundle, staged_path } = await landing.dataset();
  const before = await traces(landing);
  const said: Record<string, string> = {};
  for (const command of ['stage', 'archive', 'purge', 'delete']) {
    const args = [command, 'run_A', '--dry-run', ...(command === 'stage' ? ['--force'] : [])];
    const done = await runScript('longshore.ts', args, landing.place.env);
    expect(done, done.stderr).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('nothing was changed'),
    });
    said[command] = done.stdout;
  }
  expect(await traces(landing)).toBe(before);
  expect(said.stage).toContain(`read    the bundle in filesystem: ${archive_path}`);
  expect(said.stage).toMatch(/write +staged copy: .*run_A \(293 KiB, 2 files\)/);
  expect(said.stage).toMatch(/space +need [^,]+, have [^,]+ \(.* free/);
  expect(said.stage).toContain(`→ ${staged_path}`);
  expect(said.archive).toContain('equals the origin; it is not written again');
  expect(said.purge).toContain(`remove  staged copy: ${staged_path}`);
  expect(said.delete).toContain(`remove  bundle and manifest in filesystem: ${archive_path}`);
  expect(said.delete).toContain('(stays)');

  const { totals, steps } = await plan(landing, 'stage', true);
  expect(totals).toMatchObject({ read: bundle?.size, written: SIZE + (bundle?.size ?? 0), removed: 0 });
  expect(steps.map(({ step }) => step)).toEqual(['stage', 'validate', 'setup_download']);
  const {
    trees,
    bundle: kept,
    links,
    aliasFolder,
  } = stagedCopyOf(landing.place.config, await landing.dataset());
  const removes = (await plan(landing, 'purge')).steps.flatMap((step) =>
    step.removes.map(({ path }) => path),
  );
  expect(removes.toSorted()).toEqual([...trees, kept, links.tree, links.bundle, aliasFolder].toSorted());
});

test('what purge and delete say they remove is what they remove', async () => {
  const landing = await landed();
  const removesOf = async (workflow: string): Promise<string[]> =>
    (await plan(landing, workflow)).steps.flatMap(({ removes }) => removes.map(({ path }) => path));
  const purged = await removesOf('purge');
  const [, answer] = (await landing.run('purge_dataset')) as [number, { removed: string[] }];
  // The task does not tell of the folder, which may be shared.
  expect(
    [...answer.removed, join(purged.find((path) => path.endsWith('run_A')) ?? '', '..')].toSorted(),
  ).toEqual(purged.toSorted());
  expect(await removesOf('purge')).toEqual([]);
  // Where an attempt to archive was going to, too.
  const noted = `${(await landing.dataset()).archive_path}.noted`;
  writeFileSync(noted, 'bundle');
  await landing.store.catalog.patch(landing.id, { metadata: { archive_target: noted } });
  const deleted = await removesOf('delete');
  expect(deleted).toContain(noted);
  await landing.run('delete_dataset');
  const told = landing.audit.find(({ action }) => action === 'dataset.delete')?.details.removed as string[];
  expect(told.toSorted()).toEqual(deleted.toSorted());
});

test('the plan of a removal of the origin names it, and refuses as the task does', async () => {
  const landing = await landed({
    workflow_registry: { clear: { steps: [{ name: 'clear', task: 'delete_source' }] } },
  });
  const { id, origin_path, archive_path } = await landing.dataset();
  const good = await plan(landing, 'clear');
  expect(good.steps[0]?.removes).toMatchObject([{ path: origin_path, bytes: SIZE }]);
  expect(stopsOf(good)).toEqual([]);
  const at = new Date().toISOString();
  const line = { dataset_id: id, archive: 'filesystem', key: archive_path as string, at, seconds: 0 };
  const found = {
    ...line,
    level: 'stream',
    result: 'missing',
    bytes: 0,
    actor: 'scrub',
    details: {},
  } as const;
  await landing.store.catalog.addProof(found);
  expect(stopsOf(await plan(landing, 'clear'))).toEqual(['E_FIXITY']);
  await landing.store.catalog.addProof({ ...found, result: 'ok' });
  const mount = unmount(dirname(landing.origin));
  expect(stopsOf(await plan(landing, 'clear'))).toEqual(['E_ORIGIN_MISSING']);
  mount();
  await landing.run('delete_source');
  expect((await plan(landing, 'clear')).steps[0]).toMatchObject({ removes: [], reads: [] });
  const again = unmount(dirname(landing.origin)); // It is recorded that it is gone.
  expect(stopsOf(await plan(landing, 'clear'))).toEqual([]);
  again();
});

test('so does the plan for an origin whose bundle was never read back, or that lies where none comes from', async () => {
  const landing = await registered({
    workflow_registry: {
      clear: { steps: [{ name: 'clear', task: 'delete_source' }] },
      turn: { steps: ['stage_dataset', 'delete_source'].map((task) => ({ name: task, task })) },
    },
    archive: {
      types: { RAW_DATA: ['filesystem', 'mirror'] },
      backends: { mirror: { kind: 'filesystem', root: '{home}/mirror' } },
    },
  });
  await landing.upTo('archive_dataset');
  // Each of the two copies is proven, and yet nobody has read the bundle back into a tree.
  const refused = await landing.fails('delete_source');
  expect((await plan(landing, 'clear')).stops).toMatchObject([
    { code: refused.code, message: refused.message },
  ]);
  expect(stopsOf(await plan(landing, 'turn'))).toEqual([]);
  await landing.run('stage_dataset');
  expect(stopsOf(await plan(landing, 'clear'))).toEqual([]);
  await landing.store.catalog.patch(landing.id, { origin_path: '/etc' });
  expect(stopsOf(await plan(landing, 'clear'))).toEqual(['E_NAME_UNSAFE']);
});

test('a new archive is not marked by a plan, and is not called away; the origin is counted', async () => {
  const landing = await registered();
  const before = await traces(landing);
  const { stops, totals, would, steps } = await plan(landing, 'integrated');
  expect(await traces(landing)).toBe(before);
  expect([would, stops]).toEqual(['start', []]);
  expect(totals.read).toBeGreaterThanOrEqual(2 * SIZE);
  expect(totals.written).toBeGreaterThanOrEqual(3 * SIZE);
  expect(totals.seconds).toBeNull();
  expect(steps.map(({ task }) => task)).toContain('archive_dataset');
});

test('room that is missing is told as the tasks will tell it, to the byte', async () => {
  const landing = await registered();
  await landing.run('inspect_dataset');
  const { store, id } = landing;
  const { stage, ...rest } = landing.place.config;
  const config = { ...rest, stage: { ...stage, reserve_bytes: 2 ** 52 } };
  const refusal = async (task: string): Promise<Record<string, unknown>> => {
    const notes = { lines: [], tools: [], audit: [], progress: [] };
    const running = (await loadTask(task)).run(makeContext({ config, store, id, run: {}, notes }));
    const error = await running.then(
      () => null,
      (failure: unknown) => coerceError(failure),
    );
    expect(error?.code).toBe('E_NO_SPACE');
    return { ...error?.fields };
  };
  const planned = async (workflow: string): Promise<Plan> =>
    planWorkflow({ config, store }, workflow, await landing.dataset());

  const archive = await planned('archive');
  expect(stopsOf(archive)).toEqual(['E_NO_SPACE']);
  const unarchived = await refusal('archive_dataset');
  expect(archive.space[0]).toMatchObject({ need: unarchived.need, keep: unarchived.keep });
  await landing.run('archive_dataset');
  const staging = await planned('stage');
  expect(stopsOf(staging)).toEqual(['E_NO_SPACE']);
  expect(staging.steps[0]?.needs[0]?.bytes).toBe((await refusal('stage_dataset')).need);
});

test('what would stop it is told before it is started, with the error that it would end with', async () => {
  const landing = await registered();
  expect(stopsOf(await plan(landing, 'stage'))).toEqual(['E_NOT_ARCHIVED']);
  expect(stopsOf(await plan(landing, 'qc'))).toEqual(['E_WORKFLOW_STATE']);
  const done = await runScript('longshore.ts', ['stage', 'run_A', '--dry-run'], landing.place.env);
  expect(done).toMatchObject({ code: 4, stdout: expect.stringMatching(/would not start.*E_NOT_ARCHIVED/s) });

  await landing.upTo('setup_dataset_download');
  const { archive_path } = await landing.dataset();
  renameSync(archive_path as string, `${archive_path}.aside`);
  expect(stopsOf(await plan(landing, 'stage', true))).toEqual(['E_BUNDLE_MISSING']);
  expect(stopsOf(await plan(landing, 'purge'))).toEqual(['E_BUNDLE_MISSING']);
  expect(stopsOf(await plan(landing, 'purge', true))).toEqual([]);
  const mark = landing.place.path('data/archive/.longshore-archive');
  rmSync(mark);
  for (const workflow of ['stage', 'archive', 'delete', 'purge'])
    expect(stopsOf(await plan(landing, workflow, workflow === 'stage')), workflow).toEqual([
      'E_ARCHIVE_UNAVAILABLE',
    ]);
  renameSync(`${archive_path}.aside`, archive_path as string);
  // With the bundle in sight, too: as the tasks, which ask for the mark first.
  for (const workflow of ['stage', 'archive', 'delete'])
    expect(stopsOf(await plan(landing, workflow, workflow === 'stage')), workflow).toEqual([
      'E_ARCHIVE_UNAVAILABLE',
    ]);
  for (const task of ['stage_dataset', 'archive_dataset', 'delete_dataset'])
    expect(await landing.fails(task, { attempt: 2 }), task).toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  writeFileSync(mark, '');

  const pinned = { until: null, by: 'ann', reason: 'paper' };
  await landing.store.catalog.patch(landing.id, { metadata: { pinned } });
  const kept = await plan(landing, 'purge', true);
  expect(kept.stops[0]).toMatchObject({
    code: 'E_WORKFLOW_STATE',
    message: expect.stringContaining('by ann: paper'),
  });
  await landing.store.catalog.patch(landing.id, { metadata: { pinned: null } });

  renameSync(landing.origin, `${landing.origin}.aside`);
  expect(stopsOf(await plan(landing, 'archive'))).toEqual(['E_ORIGIN_MISSING']);
  mkdirSync(landing.origin); // As an empty mount point.
  expect(stopsOf(await plan(landing, 'archive'))).toEqual(['E_ORIGIN_REDUCED']);
  expect(stopsOf(await plan(landing, 'archive', true))).toEqual([]);
  rmSync(landing.origin, { recursive: true });
  renameSync(`${landing.origin}.aside`, landing.origin);

  const stage = landing.place.path('data/staged/raw_data');
  const mount = unmount(stage);
  for (const workflow of ['purge', 'delete'])
    expect(stopsOf(await plan(landing, workflow)), workflow).toEqual(['E_STAGE_AWAY']);
  mount();

  const other = buildWorkflow(landing.place.config, 'stage', { dataset_id: landing.id, initiator: 'ben' });
  await landing.store.records.createWorkflow(other);
  expect(await plan(landing, 'stage')).toMatchObject({ would: 'join', because: other.id, stops: [] });
  await landing.store.records.deleteWorkflow(other.id);
  const resumed = { ...other, _status: 'FAILURE', resume_lock: new Date().toISOString() } as const;
  for (const busy of [other, resumed]) {
    await landing.store.records.createWorkflow(busy);
    expect((await plan(landing, 'delete')).stops[0]).toMatchObject({
      message: expect.stringContaining(other.id),
    });
    await landing.store.records.deleteWorkflow(other.id);
  }

  await landing.run('delete_dataset');
  expect(stopsOf(await plan(landing, 'stage'))).toEqual(['E_DATASET_DELETED']);
});

test('a copy that is staged and intact need not be staged; whatever is amiss with it makes it needed', async () => {
  const landing = await landed();
  const would = async (): Promise<string> => (await plan(landing, 'stage')).would;
  expect(await would()).toBe('nothing');
  expect((await plan(landing, 'stage', true)).would).toBe('start');
  const { trees, bundle, links } = stagedCopyOf(landing.place.config, await landing.dataset());
  const file = join(trees[0] ?? '', 'a.txt');
  const { mtime } = statSync(file);
  for (const path of [file, bundle, links.tree, links.bundle]) {
    renameSync(path, `${path}.aside`);
    expect(await would(), path).toBe('start');
    renameSync(`${path}.aside`, path);
    expect(await would(), path).toBe('nothing');
  }
  // Another content of the same size: the time tells.
  writeFileSync(file, 'ALPHA');
  expect(statSync(file).mtime).not.toEqual(mtime);
  expect(await would()).toBe('start');
});

test('a copy that is cut short, or was found damaged, is not called up to date; a plan needs no origin that it does not read', async () => {
  const landing = await landed();
  const { archive_path, id, origin_path } = await landing.dataset();
  const key = archive_path as string;
  const notes = async (workflow: string): Promise<string> =>
    (await plan(landing, workflow)).steps.flatMap((step) => step.notes).join('; ');
  expect(await notes('archive')).toContain('equals the origin; it is not written again');
  const whole = readFileSync(key);
  truncateSync(key, 1000);
  expect(await notes('archive')).toContain('is replaced if it differs');
  writeFileSync(key, whole);
  renameSync(origin_path, `${origin_path}.gone`);
  const without = await plan(landing, 'copies');
  expect(stopsOf(without)).toEqual([]);
  expect(without.steps[0]?.notes.join()).toContain('equals what is recorded');
  renameSync(`${origin_path}.gone`, origin_path);
  const at = new Date().toISOString();
  const proof = {
    dataset_id: id,
    archive: 'filesystem',
    key,
    at,
    level: 'stream',
    result: 'mismatch',
  } as const;
  await landing.store.catalog.addProof({ ...proof, bytes: 0, seconds: 0, actor: 'scrub', details: {} });
  expect(await notes('archive')).toContain('was found mismatch');
  expect(stopsOf(await plan(landing, 'purge'))).toEqual(['E_FIXITY']);
});

test('a copy that an archive lacks is planned with the reads of the one that it is made from', async () => {
  const landing = await registered({
    archive: {
      types: { RAW_DATA: ['mirror', 'filesystem'] },
      backends: { mirror: { kind: 'filesystem', root: '{home}/mirror' } },
    },
  });
  await landing.upTo('archive_dataset');
  const { archive_path, bundle } = await landing.dataset();
  rmSync(landing.place.path(`mirror${archive_path}`));
  const [step] = (await plan(landing, 'copies')).steps;
  expect(step?.writes[0]?.what).toBe('bundle in mirror');
  const what = 'bundle in filesystem, twice: proven and copied';
  expect(step?.reads.at(-1)).toEqual({ what, path: archive_path, bytes: 2 * (bundle?.size ?? 0), files: 1 });
  // One that cannot be asked may have what the other lacks.
  expect(stopsOf(await plan(landing, 'purge'))).toEqual([]);
  for (const path of [archive_path as string, landing.place.path('data/archive/.longshore-archive')])
    rmSync(path);
  expect(stopsOf(await plan(landing, 'purge'))).toEqual(['E_ARCHIVE_UNAVAILABLE']);
});

test('several are planned together: one sum, and the room for all of them', async () => {
  const landing = await registered();
  const [other] = await landing.store.catalog.register(
    [{ dataset: { name: 'run_B', type: 'RAW_DATA', origin_path: landing.origin, create_method: 'TEST' } }],
    'test',
  );
  if (other?.outcome !== 'created') throw new Error('not registered');
  const done = await runScript(
    'longshore.ts',
    ['archive', 'run_A', 'run_B', '--dry-run', '--json'],
    landing.place.env,
  );
  const answer = JSON.parse(done.stdout) as { plans: Plan[]; space: Plan['space'] };
  expect(answer.plans.map(({ dataset, would }) => [dataset, would])).toEqual([
    ['run_A', 'start'],
    ['run_B', 'start'],
  ]);
  const [one, two] = answer.plans.map(({ space }) => space[0]?.need ?? 0);
  expect(answer.space[0]?.need).toBe((one ?? 0) + (two ?? 0));
});

test('the expected time follows from the median rate of comparable runs, and says when there is none', async () => {
  const run = (amount: number, seconds: number) => ({ amount, seconds });
  const bytes = (amount: number) => ({ unit: 'bytes', amount }) as const;
  expect(expectedOf([], bytes(1000))).toBeNull();
  expect(expectedOf([run(1000, 10), run(1000, 5), run(1000, 1)], bytes(2000))).toEqual({
    seconds: 10,
    rate: 200,
    unit: 'bytes',
    runs: 3,
    from_smaller: false,
  });
  // A tiny dataset is mostly the start of a process.
  expect(expectedOf([run(1, 1), run(1, 1), run(1000, 10)], bytes(1000))).toMatchObject({
    seconds: 10,
    runs: 1,
  });
  expect(expectedOf([run(1, 1), run(2, 1)], bytes(1000))).toMatchObject({ runs: 2, from_smaller: true });
  const at = (second: number): string => new Date(second * 1000).toISOString();
  const clean = { date_start: at(0), date_done: at(4) };
  const store = {
    records: {
      cleanRuns: async ({ task }: { task: string }) =>
        task === 'stage_dataset' ? [1, 2].map((dataset_id) => ({ dataset_id, ...clean })) : [],
    },
    catalog: {
      get: async (id: number) => {
        if (id === 1) return { size: 400, num_files: 3, num_directories: 1 };
        throw new LongshoreError('E_DATASET_NOT_FOUND', 'of a catalog that was set back');
      },
    },
  } as unknown as Store;
  expect(await expectation(store, 'stage_dataset', bytes(1000))).toMatchObject({ seconds: 10, rate: 100 });
  expect(await expectation(store, 'stage_dataset', { unit: 'files', amount: 8 })).toMatchObject({
    seconds: 8,
  });
  expect(await expectation(store, 'archive_dataset', bytes(1000))).toBeNull();
  expect(await expectation(store, 'stage_dataset', { unit: 'bytes', amount: null })).toBeNull();
});

/** A dataset in a place of its own, and its tasks run on the real store, one by one, without a fleet. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { type LongshoreError, isLongshoreError } from '../../workers/errors.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { openStore, type Store } from '../../workers/store.ts';
import type { Postponement, TaskReturn } from '../../workers/tasks/contract.ts';
import { loadTask } from '../../workers/tasks/registry.ts';
import { makePlace, type Place } from '../support/place.ts';
import { makeContext, type Notes, type RunOptions } from './context.ts';

export type { RunOptions } from './context.ts';

export interface Landing extends Notes {
  readonly place: Place;
  readonly store: Store;
  readonly origin: string;
  readonly id: number;
  dataset(): Promise<Dataset>;
  /** State names, oldest first. */
  states(): Promise<string[]>;
  run(task: string, options?: RunOptions): Promise<TaskReturn | Postponement>;
  /** Runs it and gives the coded error that it must end with. */
  fails(task: string, options?: RunOptions): Promise<LongshoreError>;
  /** inspect, archive, stage, validate, setup_download: up to and including the named task. */
  upTo(task: string): Promise<void>;
}

export type Files = Record<string, string | Buffer | { link: string } | null>;

/** `null` makes a directory. */
export function writeTree(root: string, files: Files): void {
  mkdirSync(root, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    if (content === null) mkdirSync(full, { recursive: true });
    else if (typeof content === 'object' && 'link' in content) symlinkSync(content.link, full);
    else writeFileSync(full, content);
  }
}

const STEPS = [
  'inspect_dataset',
  'archive_dataset',
  'stage_dataset',
  'validate_dataset',
  'setup_dataset_download',
];

export async function makeLanding(
  files: Files,
  options: { name?: string; type?: string; config?: Record<string, unknown>; origin?: string } = {},
): Promise<Landing> {
  const place = await makePlace(options.config);
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const name = options.name ?? 'run_A';
  const type = options.type ?? 'RAW_DATA';
  const origin = options.origin ?? place.path('data/source', type.toLowerCase(), name);
  if (options.origin === undefined) writeTree(origin, files);
  const [outcome] = await store.catalog.register(
    [{ dataset: { name, type, origin_path: origin, create_method: 'TEST' } }],
    'test',
  );
  if (outcome?.outcome !== 'created') throw new Error(`not registered: ${JSON.stringify(outcome)}`);
  const id = outcome.dataset.id;
  const notes: Notes = { lines: [], tools: [], audit: [], progress: [] };
  const run: Landing['run'] = async (task, given = {}) =>
    (await loadTask(task)).run(makeContext({ config: place.config, store, id, run: given, notes }));
  return {
    place,
    store,
    origin,
    id,
    ...notes,
    run,
    dataset: () => store.catalog.get(id, { bundle: true, states: true }),
    states: async () => (await store.catalog.states(id)).map(({ state }) => state).toReversed(),
    fails: async (task, given) => {
      const ended = await run(task, given).then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      );
      if ('error' in ended && isLongshoreError(ended.error)) return ended.error;
      throw new Error(`${task} should have failed with a coded error`, {
        cause: 'error' in ended ? ended.error : ended.value,
      });
    },
    upTo: async (task) => {
      for (const step of STEPS.slice(0, STEPS.indexOf(task) + 1)) await run(step);
    },
  };
}

/** As by a kill just after its first change of the dataset was written. */
export async function killedOnceRecorded(landing: Landing, task: string): Promise<void> {
  const { catalog } = landing.store;
  const patch = catalog.patch.bind(catalog);
  catalog.patch = async (...args) => {
    await patch(...args);
    throw new Error('killed');
  };
  await expect(landing.run(task)).rejects.toThrow('killed');
  catalog.patch = patch;
}

/** Only the mount point is left. Gives what brings back what lay there. */
export function unmount(folder: string): () => void {
  renameSync(folder, `${folder}.away`);
  mkdirSync(folder);
  return () => {
    rmSync(folder, { recursive: true });
    renameSync(`${folder}.away`, folder);
  };
}

/** Names, types, bytes, modes and link targets of a tree, by an independent tool: of coreutils' strong digests the fastest. */
export function fingerprint(folder: string): string {
  const script = `cd "$1" && find . -printf '%P %y %s %m %l\\n' | grep -av ' d ' | LC_ALL=C sort; find . -type d -printf '%P %m\\n' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r b2sum`;
  const done = spawnSync('sh', ['-c', script, 'sh', folder], { encoding: 'latin1' });
  if (done.status !== 0) throw new Error(done.stderr);
  return done.stdout;
}

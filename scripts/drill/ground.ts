import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readEnvironment } from '../../config/env.ts';
import { type Config, loadConfig, mergeLayers } from '../../config/index.ts';
import { typeFolders } from '../../config/folders.ts';
import { createLogger } from '../../workers/log.ts';
import { type EmbeddedRedis, embeddedFolder, startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { createEngine, type Engine } from '../../workers/workflows/engine.ts';
import type { ServedWorkflow } from '../../workers/workflows/status.ts';
import { type HalfOpenProxy, startHalfOpenProxy } from './half-open.ts';
import { failureOf, failureText } from '../cli/progress.ts';
import type { Attempt } from '../../workers/records/contract.ts';
import { type Processes, startProcesses } from '../demo/processes.ts';
import { proveTree, treeDifferences } from '../demo/verify.ts';
import { makeSample } from '../enqueue-test/sample.ts';

/** One fault's own corner: Redis, catalog, folders, archive and workers that nobody else uses. */
export interface Ground {
  readonly folder: string;
  readonly archive: string;
  readonly stage: string;
  readonly engine: Engine;
  redis: EmbeddedRedis;
  /** Workers reach Redis through it where the fault asks for that. */
  readonly proxy: HalfOpenProxy | null;
  /** Starts a worker; one that is killed is started again, as pm2 would do. */
  worker(name: string): void;
  /** Processes that ran the waiting step, in order. */
  holds(): { child: number; worker: number }[];
  /** Lets the waiting step go on. */
  go(): void;
  /** Removes the staged copy and stages it anew: work that can be struck in its midst. */
  stageAgain(): Promise<string>;
  attempts(task_id: string): Promise<Attempt[]>;
  startRedis(): Promise<void>;
  /** The origin as it was dropped, and the staged copy, by find and sha256sum. */
  assertIdentical(): Promise<void>;
  close(): Promise<void>;
  /** Whoever waits does so no longer once it is aborted. */
  readonly signal: AbortSignal;
}

const WAIT_MS = 90_000;

export interface GroundNeeds {
  /** Of the dataset, in bytes. */
  readonly size?: number;
  readonly proxied?: boolean;
}

/** @param types the site's dataset types: none of them may keep a folder or an archive of the site */
export async function openGround(
  folder: string,
  types: readonly string[],
  signal: AbortSignal,
  needs: GroundNeeds = {},
): Promise<Ground & { id: string }> {
  const opened = new AsyncDisposableStack();
  try {
    return await prepare(folder, types, signal, needs, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/** @param opened what is to be closed, the last one first */
async function prepare(
  folder: string,
  types: readonly string[],
  signal: AbortSignal,
  { size = 6 * 1024 ** 2, proxied = false }: GroundNeeds,
  opened: AsyncDisposableStack,
): Promise<Ground & { id: string }> {
  mkdirSync(folder, { recursive: true });
  const data = join(folder, 'data');
  const folders = typeFolders(data, 'drill');
  const { env, config } = await settingsOf(folder, data, types);
  const startRedis = (): Promise<EmbeddedRedis> => startEmbeddedRedis(embeddedFolder(config));
  let redis = await startRedis();
  opened.defer(() => redis.stop());
  const store = await openStore(config);
  opened.defer(() => store.close());
  const log = createLogger('drill', {}, { to: join(folder, 'log/drill.log') });
  const engine = await createEngine({ config, store, log, wait_seconds: 10 });
  opened.defer(() => engine.close());
  const proxy = proxied ? await startHalfOpenProxy(redis.url) : null;
  if (proxy !== null) opened.defer(() => proxy.close());
  const processes: Processes = startProcesses({
    env: proxy === null ? env : via(env, proxy.url),
    logs: join(folder, 'log'),
    note: () => undefined,
  });
  opened.defer(async () => {
    // By Ctrl-C, which has reached Redis as well: nobody is there to hand jobs back to, and nothing is to be kept.
    if (signal.aborted) processes.kill();
    await processes.stop();
  });
  const origin = join(folder, 'origin/drill');
  const journal = join(folder, 'journal');
  await makeSample(
    origin,
    { size, files: 6, fastq: false },
    { keep: 0, state_dir: config.state_dir, signal },
  );
  const dataset_id = await register(store, origin, types[0] ?? 'RAW_DATA');
  const step = (name: string, task: string, kwargs = {}) => ({ name, task, kwargs });
  const steps = [
    step('inspect', 'inspect_dataset', { digests: false }),
    step('archive', 'archive_dataset'),
    step('hold', 'drill_hold', { journal, go: join(folder, 'go') }),
    step('stage', 'stage_dataset'),
    step('validate', 'validate_dataset'),
  ];
  const { id } = await engine.start({ name: 'drill', steps }, { initiator: 'drill', dataset_id });
  const ground = {
    id,
    folder,
    archive: join(data, 'archive'),
    stage: folders.stage,
    engine,
    redis,
    proxy,
    worker: (name: string) => processes.start(name, 'workers/worker.ts'),
    holds: () => holdsOf(journal),
    go: () => writeFileSync(join(folder, 'go'), ''),
    stageAgain: async () => {
      const again = [
        step('purge', 'purge_dataset'),
        step('stage', 'stage_dataset'),
        step('validate', 'validate_dataset'),
      ];
      return (await engine.start({ name: 'again', steps: again }, { initiator: 'drill', dataset_id })).id;
    },
    attempts: (task_id: string) => store.records.attempts(task_id),
    startRedis: async () => {
      redis = await startRedis();
      ground.redis = redis;
    },
    assertIdentical: async () => {
      const { staged_path } = await store.catalog.get(dataset_id);
      if (staged_path === null) throw new Error('nothing is staged');
      const problems = treeDifferences(await proveTree(origin), await proveTree(staged_path));
      if (problems.length > 0) throw new Error(problems.join('; '));
    },
    close: () => opened.disposeAsync(),
    signal,
  };
  return ground;
}

async function settingsOf(
  folder: string,
  data: string,
  types: readonly string[],
): Promise<{ env: NodeJS.ProcessEnv; config: Config }> {
  const {
    LONGSHORE_QUEUE: _queue,
    LONGSHORE_WORKER: _app,
    LONGSHORE_CRASH_AT: _at,
    ...values
  } = readEnvironment().values;
  const site = JSON.parse(values.LONGSHORE_OVERRIDES || '{}') as object;
  const ofEach = <T>(value: T): Record<string, T> => Object.fromEntries(types.map((type) => [type, value]));
  const own = {
    state_dir: join(folder, 'state'),
    catalog: { path: join(folder, 'catalog.db') },
    paths: {
      scratch: join(data, 'scratch'),
      download_dir: join(data, 'downloads'),
      ...ofEach(typeFolders(data, 'drill')),
    },
    archive: { copies: ['drill'], types: ofEach(['drill']), backends: { drill: { kind: 'filesystem' } } },
    queue: {
      url: null,
      username: null,
      password: null,
      lock_seconds: 5,
      stalled_check_seconds: 1,
      silence_seconds: 12,
    },
    workflow: { reconcile_seconds: 2, retry: { max: 30, delay_seconds: 1 } },
    // What the site keeps free is more than the small disk has that the drill fills.
    stage: { reserve_bytes: 0 },
    fixity: { alarm: null },
    schedules: [],
  };
  const env = {
    ...values,
    LONGSHORE_DOTENV: 'none',
    LONGSHORE_OVERRIDES: JSON.stringify(mergeLayers(site, own)),
    LONGSHORE_TASKS_PATH: join(import.meta.dirname, 'tasks'),
    LOG_FORMAT: 'json',
  };
  const { config } = await loadConfig({ environment: { values: env, file: null, fromFile: new Set() } });
  return { env, config };
}

/** The same settings, with another way to Redis. */
function via(env: NodeJS.ProcessEnv, url: string): NodeJS.ProcessEnv {
  const overrides = JSON.parse(env.LONGSHORE_OVERRIDES ?? '{}') as object;
  return { ...env, LONGSHORE_OVERRIDES: JSON.stringify(mergeLayers(overrides, { queue: { url } })) };
}

async function register(store: Store, origin_path: string, type: string): Promise<number> {
  const dataset = { name: 'drill', type, origin_path, create_method: 'TEST' as const };
  const [outcome] = await store.catalog.register([{ dataset }], 'drill');
  if (outcome?.outcome === 'created') return outcome.dataset.id;
  throw new Error(`the drill's dataset was not registered: ${JSON.stringify(outcome)}`);
}

function holdsOf(journal: string): { child: number; worker: number }[] {
  if (!existsSync(journal)) return [];
  const lines = readFileSync(journal, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const [child = 0, worker = 0] = line.split(' ').map(Number);
    return { child, worker };
  });
}

/** @throws when it has not come true in a minute and a half */
export async function until<T>(
  { signal }: { readonly signal: AbortSignal },
  what: string,
  ask: () => Promise<T> | T,
): Promise<NonNullable<T>> {
  for (const deadline = Date.now() + WAIT_MS; ; await sleep(100)) {
    signal.throwIfAborted();
    const seen = await ask();
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`waited ${WAIT_MS / 1000} s for ${what}`);
  }
}

export const succeeds = (ground: Ground & { id: string }): Promise<ServedWorkflow> =>
  until(ground, 'the workflow to end', async () => {
    const workflow = await ground.engine.show(ground.id, { prev_task_runs: true });
    if (workflow.status === 'FAILURE') {
      const failure = failureOf(workflow.steps[workflow.steps_done]?.last_task_run);
      throw new Error(`the workflow failed: ${failure === null ? 'unknown' : failureText(failure)}`);
    }
    return workflow.status === 'SUCCESS' ? workflow : null;
  });

import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, existsSync, openSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { openStore, type Store } from '../../workers/store.ts';
import type { WorkflowStatus } from '../../workers/records/contract.ts';
import { createEngine, type Engine, type StartOptions } from '../../workers/workflows/engine.ts';
import type { ServedWorkflow } from '../../workers/workflows/status.ts';
import type { DrillOptions } from '../fixtures/tasks/drill.ts';
import { makePlace, type Place } from './place.ts';
import { until } from './until.ts';

/** A worker of the fleet as production starts it: its own process. */
export interface WorkerHandle {
  readonly pid: number;
  /** Sent over IPC, as to pm2. */
  readonly messages: unknown[];
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  kill(signal: NodeJS.Signals): void;
  log(): string;
}

export interface Fleet {
  readonly place: Place;
  readonly store: Store;
  readonly engine: Engine;
  /** Where drill tasks write what they do. */
  readonly journal: string;
  entries(): JournalEntry[];
  /** Entries of one event, of one step if named. */
  events(event: string, step?: string): JournalEntry[];
  /** A workflow of drill steps, started for a new dataset; step names are the keys. */
  start(steps: Record<string, Partial<DrillOptions>>, options?: Partial<StartOptions>): Promise<string>;
  /** Waits until the workflow is served with this status. */
  reaches(id: string, status: WorkflowStatus): Promise<ServedWorkflow>;
  /** A new dataset to work on. */
  dataset(): Promise<number>;
  /** `checkout`: another one than this, see {@link copyCheckout}. */
  worker(env?: Record<string, string>, checkout?: string): Promise<WorkerHandle>;
  /** Of the worker that was started as this one, also before it is ready. */
  workerLog(number: number): string;
}

export interface JournalEntry {
  event: string;
  step: string;
  at: number;
  pid: number;
  task_id?: string;
  attempt?: number;
  grandchild?: number;
  args?: unknown[];
  kwargs?: Record<string, unknown>;
}

const root = join(import.meta.dirname, '../..');

/** A store, an engine and any number of real workers in a place of their own; all are gone when the test ends. */
export async function makeFleet(
  overrides: Record<string, unknown> = {},
  env: Record<string, string> = {},
): Promise<Fleet> {
  const place = await makePlace(overrides);
  Object.assign(place.env, env);
  const journal = place.path('journal');
  const store = await openStore(place.config);
  const engine = await createEngine({ config: place.config, store, log: createLogger('test') });
  const workers: WorkerHandle[] = [];
  let datasets = 0;
  const dataset = async (): Promise<number> => {
    datasets += 1;
    const name = `sample-${datasets}`;
    const [outcome] = await store.catalog.register(
      [
        {
          dataset: {
            name,
            type: 'RAW_DATA',
            origin_path: place.dir('origin', name),
            create_method: 'TEST',
          },
        },
      ],
      'test',
    );
    if (outcome?.outcome !== 'created') throw new Error(`not registered: ${JSON.stringify(outcome)}`);
    return outcome.dataset.id;
  };
  onTestFinished(async () => {
    for (const worker of workers) worker.kill('SIGCONT');
    for (const worker of workers) worker.kill('SIGKILL');
    await Promise.all(workers.map((worker) => worker.exited));
    await engine.close();
    await store.close();
  });
  return {
    place,
    store,
    engine,
    journal,
    entries: () => entriesOf(journal),
    events: (event, step) =>
      entriesOf(journal).filter(
        (entry) => entry.event === event && (step === undefined || entry.step === step),
      ),
    start: async (steps, options = {}) => {
      const definition = {
        name: 'drill',
        steps: Object.entries(steps).map(([name, kwargs]) => ({
          name,
          task: 'drill',
          kwargs: { journal, ...kwargs },
        })),
      };
      const dataset_id = options.dataset_id ?? (await dataset());
      return (await engine.start(definition, { initiator: 'test', ...options, dataset_id })).id;
    },
    reaches: (id, status) =>
      until(
        async () => {
          const workflow = await engine.show(id, { prev_task_runs: true });
          return workflow.status === status ? workflow : null;
        },
        { what: `workflow ${id} to be ${status}` },
      ),
    dataset,
    workerLog: (number) => workers[number]?.log() ?? '',
    worker: async (more = {}, checkout = root) => {
      const worker = startWorker(place, workers.length, more, checkout);
      workers.push(worker);
      await until(() => worker.log().includes('worker ready'), { what: 'the worker to be ready' });
      return worker;
    },
  };
}

/** What a worker runs of this checkout, in a place where a test may change it. */
export function copyCheckout(place: Place): string {
  const copy = place.dir('checkout');
  for (const part of ['workers', 'config', 'scripts', 'package.json', 'tests/fixtures/tasks'])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

export function startWorker(
  place: Place,
  number: number,
  env: Record<string, string>,
  checkout = root,
): WorkerHandle {
  const file = place.path(`worker-${number}.log`);
  const output = openSync(file, 'a');
  const child: ChildProcess = spawn(process.execPath, [join(checkout, 'workers/worker.ts')], {
    stdio: ['ignore', output, output, 'ipc'],
    env: {
      ...process.env,
      ...place.env,
      LOG_LEVEL: 'info',
      LONGSHORE_TASKS_PATH: join(checkout, 'tests/fixtures/tasks'),
      ...env,
    },
  });
  const messages: unknown[] = [];
  child.on('message', (message) => messages.push(message));
  return {
    pid: child.pid as number,
    messages,
    exited: new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
    }),
    kill: (signal) => {
      child.kill(signal);
    },
    log: () => readFileSync(file, 'utf8'),
  };
}

function entriesOf(journal: string): JournalEntry[] {
  if (!existsSync(journal)) return [];
  return readFileSync(journal, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as JournalEntry);
}

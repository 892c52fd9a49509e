import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { readEnvironment } from '../../config/env.ts';
import { type Config, loadConfig } from '../../config/index.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { bytes, counted } from '../cli/format.ts';
import { follow } from '../cli/follow.ts';
import type { Followed } from '../cli/progress.ts';
import type { Out } from '../cli/table.ts';
import { isOver, landingsOf, workflowIds } from './landing.ts';
import { assertSpace, type DemoPlace, makeDemoPlace, writeSettings } from './place.ts';
import { type Processes, startProcesses } from './processes.ts';
import { buildSamples, dropSamples, GROWING, growSample, SAMPLE_COUNT } from './samples.ts';
import { type Expected, assertApart, type Plan, planSamples, planSource } from './sources.ts';
import { judge, type Outcome } from './summary.ts';
import { fingerprint, sizeOf, type TreeSize } from './verify.ts';

export interface DemoOptions {
  readonly at: string;
  readonly source: string | null;
  readonly qc: boolean;
  readonly workers: number;
  readonly out: Out;
  readonly signal: AbortSignal;
  /** After the landings, with the fleet still up. */
  readonly beforeStop: (place: DemoPlace) => Promise<void>;
}

export interface DemoResult {
  readonly outcomes: readonly Outcome[];
  readonly place: DemoPlace;
  readonly left: Plan['left'];
  /** False: the lent directory is not as it was. Null: the demo's own samples. */
  readonly untouched: boolean | null;
}

/** Starts a fleet, lets the datasets land while it is watched, proves them, and takes the fleet down again. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { out, signal } = options;
  const source = options.source === null ? null : assertApart(options.source, options.at);
  const place = makeDemoPlace(options.at);
  const plan = source === null ? null : planSource(source, place);
  const before = plan === null ? null : await lend(plan, place, out);
  if (plan === null) buildSamples(place.aside);
  writeSettings(place, {
    raw_sources: [plan?.watched ?? place.raw],
    stable_after_seconds: source === null ? 2 : 5,
    qc: options.qc && hasQc(out),
  });
  const env = environmentOf(place);
  const { config } = await loadConfig({ environment: readEnvironment({ base: env }), places: true });
  const notes = notesFor(out);
  const processes = startProcesses({ env, logs: place.logs, note: notes.add });
  const stopAtOnce = (): void => processes.kill();
  process.once('exit', stopAtOnce);
  const store = await openStore(config);
  try {
    startFleet(processes, options.workers);
    out.write(
      `fleet: Redis, ${counted(options.workers, 'worker')} and a watcher, all below ${place.folder}\n`,
    );
    const landing = { store, config, out, signal, expected: plan?.expected ?? null, place };
    const followed = await Promise.race([land(landing), processes.failed, aborted(signal)]);
    notes.flush();
    const outcomes = await prove(plan ?? planSamples(place), followed, store, config, out);
    const untouched = before === null || plan === null ? null : before === (await fingerprintOf(plan));
    await options.beforeStop(place);
    return { outcomes, place, left: plan?.left ?? [], untouched };
  } finally {
    notes.flush();
    await store.close();
    await processes.stop();
    process.removeListener('exit', stopAtOnce);
  }
}

function startFleet(processes: Processes, workers: number): void {
  processes.start('redis', 'scripts/redis.ts');
  processes.start('watch', 'scripts/watch.ts');
  for (let number = 1; number <= workers; number += 1)
    processes.start(`worker-${number}`, 'workers/worker.ts');
}

interface LandingParts {
  store: Store;
  config: Config;
  out: Out;
  signal: AbortSignal;
  /** Null: the samples, which this drops. */
  expected: readonly Expected[] | null;
  place: DemoPlace;
}

async function land({
  store,
  config,
  out,
  signal,
  expected,
  place,
}: LandingParts): Promise<readonly Followed[]> {
  const ended = new AbortController();
  const stop = AbortSignal.any([signal, ended.signal]);
  const total = expected?.length ?? SAMPLE_COUNT + 1;
  let others = 0;
  let growing: Promise<void> = Promise.resolve();
  if (expected === null) {
    // First into the source and last to land: it grows until all the others have landed.
    growing = growSample(place.raw, () => others >= SAMPLE_COUNT, stop);
    dropSamples(place.aside, place);
    out.write(
      `${counted(total, 'dataset')} dropped below ${join(place.folder, 'source')}; ${GROWING} is still being written\n\n`,
    );
  }
  try {
    return await follow({
      store,
      out,
      signal,
      workflow_ids: () => workflowIds(store, config),
      onChange: (followed) => {
        others = followed.filter(
          ({ workflow, dataset }) =>
            workflow.status === 'SUCCESS' &&
            workflow.name === config.registration.workflow &&
            dataset !== GROWING,
        ).length;
      },
      finished: (followed) =>
        isOver(followed, total, config) ||
        (others < SAMPLE_COUNT && expected === null && othersFailed(followed)),
    });
  } finally {
    ended.abort();
    await growing;
  }
}

/** The growing sample would wait for ever for one that has failed. */
function othersFailed(followed: readonly Followed[]): boolean {
  const done = followed.filter(({ dataset }) => dataset !== GROWING).map(({ workflow }) => workflow.status);
  return done.includes('FAILURE') && !done.includes('STARTED') && !done.includes('PENDING');
}

async function prove(
  plan: Plan,
  followed: readonly Followed[],
  store: Store,
  config: Config,
  out: Out,
): Promise<Outcome[]> {
  out.write('\nproving every byte with find, sha256sum and GNU tar …\n');
  const landings = await landingsOf(store, plan.expected, followed);
  const outcomes: Outcome[] = [];
  for (const landing of landings) outcomes.push(await judge(landing, store, config));
  return outcomes;
}

async function lend(plan: Plan, place: DemoPlace, out: Out): Promise<string> {
  const sizes = await Promise.all(plan.expected.map(({ origin }) => sizeOf(origin)));
  const sum = (pick: (one: TreeSize) => number): number => sizes.reduce((all, one) => all + pick(one), 0);
  const [size, files] = [sum((one) => one.bytes), sum((one) => one.files)];
  out.write(
    `${counted(sizes.length, 'folder')} to land: ${bytes(size)} in ${counted(files, 'file')}; they are only read\n`,
  );
  assertSpace(
    place,
    size,
    sum((one) => one.entries),
  );
  return fingerprintOf(plan);
}

const fingerprintOf = async (plan: Plan): Promise<string> =>
  (await Promise.all(plan.expected.map(({ origin }) => fingerprint(origin)))).join();

function hasQc(out: Out): boolean {
  const missing = ['fastqc', 'multiqc'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
  if (missing.length === 0) return true;
  out.write(
    `\n*** QC IS LEFT OUT: ${missing.join(' and ')} not found. Install: apt-get install ${missing.join(' ')} ***\n\n`,
  );
  return false;
}

function environmentOf(place: DemoPlace): Record<string, string | undefined> {
  const { LONGSHORE_QUEUE: _queue, LONGSHORE_WORKER: _app, LONGSHORE_CRASH_AT: _drill, ...env } = process.env;
  return {
    ...env,
    LONGSHORE_DOTENV: place.dotenv,
    LOG_FORMAT: 'json',
    LOG_LEVEL: process.env.LOG_LEVEL ?? 'info',
  };
}

/** A line in the middle of a screen that is drawn in place would spoil it: there it waits. */
function notesFor(out: Out): { add: (line: string) => void; flush: () => void } {
  let waiting: string[] = [];
  const flush = (): void => {
    for (const line of waiting) out.write(`note: ${line}\n`);
    waiting = [];
  };
  return {
    add: (line) => {
      waiting.push(line);
      if (out.isTTY !== true) flush();
    },
    flush,
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = (): void => reject(new Error('stopped by Ctrl-C'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
  });
}

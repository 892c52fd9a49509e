import { cpSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { datasetName, makeDataset } from './datasets.ts';
import { type Ground, openGround } from './ground.ts';
import { judgeFolders } from './judge-folders.ts';
import { judgeRecords } from './judge-records.ts';
import { judgeQueue } from './judge-queue.ts';
import { randomOf } from './random.ts';
import { beginStrikes, type Victim } from './strikes.ts';

export interface LandingsOptions {
  readonly folder: string;
  readonly landings: number;
  readonly workers: number;
  /** FastQC and MultiQC follow each landing, as APP_ENV=local has it; they take seconds each. */
  readonly qc?: boolean;
  readonly seed: number;
  /** Mean time between two strikes. */
  readonly every_seconds: number;
  /** Strikes go on until all has landed, or for so long; what is left must then land in peace. */
  readonly minutes: number;
  /** Over those of APP_ENV=local. */
  readonly overrides?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly tell: (line: string) => void;
}

export interface LandingsResult {
  readonly hits: Readonly<Record<Victim, number>>;
  /** Until the last workflow had ended. */
  readonly seconds: number;
  /** Of these, after the last strike. */
  readonly calm_seconds: number;
  readonly attempts: number;
  /** What is wrong, one line each; none is the result that was promised. */
  readonly problems: readonly string[];
}

const PEACE_MS = 600_000;

/** Landings through watcher and workers while all of them, their children and Redis are killed at random. */
export async function chaosOfLandings(options: LandingsOptions): Promise<LandingsResult> {
  const { folder, landings, seed, tell, qc = false, overrides = {}, env = {} } = options;
  const random = randomOf(seed);
  const ground = await openGround({
    folder,
    workers: options.workers,
    watcher: true,
    env,
    overrides: {
      registration: {
        recency_threshold_seconds: 1,
        wait_between_stability_checks_seconds: 1,
        poll_interval_seconds: 1,
        full_scan_every_n_scans: 10,
      },
      workflow_registry: { integrated: { then: qc ? ['qc'] : [] } },
      reload: { watch: 'off' },
      schedules: [],
      ...overrides,
    },
    tell,
  });
  const made = join(folder, 'made');
  for (let number = 0; number < landings; number += 1)
    await makeDataset(join(made, datasetName(number)), number, random, qc);
  const begun = performance.now();
  ground.start();
  const strikes = beginStrikes({
    processes: ground.processes,
    workers: ground.workers,
    random: randomOf(seed + 1),
    every_ms: options.every_seconds * 1000,
    freeze_ms: ground.config.queue.lock_seconds * 1500,
    tell,
  });
  try {
    const [source = ''] = [ground.config.registration.RAW_DATA.source_dir].flat();
    const dropping = drop(made, source, landings, randomOf(seed + 2));
    const workflows = qc ? 2 * landings : landings;
    const struck = await ended(ground, workflows, options.minutes * 60_000, tell);
    await strikes.stop();
    const calm = performance.now();
    await dropping;
    if (!struck) await ended(ground, workflows, PEACE_MS, tell);
    const [seconds, calm_seconds] = [performance.now() - begun, performance.now() - calm];
    const problems = [
      ...judgeRecords(ground, landings, qc),
      ...(await judgeQueue(ground)),
      ...(await judgeFolders(ground, qc)),
    ];
    const attempts = ground.count('select count(*) as n from attempts');
    return {
      hits: strikes.hits,
      seconds: seconds / 1000,
      calm_seconds: calm_seconds / 1000,
      attempts,
      problems,
    };
  } finally {
    await strikes.stop();
    await ground.stop();
  }
}

/** Most by renaming; every tenth is copied where it is watched, so that the watcher meets it half-made. */
async function drop(
  made: string,
  source: string,
  landings: number,
  random: ReturnType<typeof randomOf>,
): Promise<void> {
  while (!existsSync(source)) await sleep(100); // The watcher makes its own folders.
  for (let number = 0; number < landings; number += 1) {
    const name = datasetName(number);
    if (number % 10 === 9) {
      mkdirSync(join(source, name));
      await sleep(random.between(0, 200));
      cpSync(join(made, name), join(source, name), { recursive: true, verbatimSymlinks: true });
    } else renameSync(join(made, name), join(source, name));
    await sleep(random.between(0, 400));
  }
}

const TELL_EVERY_MS = 10_000;

/** False: not all have ended in that time. A workflow that waits for a person has not ended. */
async function ended(
  ground: Ground,
  workflows: number,
  ms: number,
  tell: (line: string) => void,
): Promise<boolean> {
  const deadline = Date.now() + ms;
  for (let told = 0; Date.now() < deadline; await sleep(250)) {
    if (!ground.ready()) continue;
    const counts = statuses(ground);
    if (Date.now() - told > TELL_EVERY_MS) {
      told = Date.now();
      tell(JSON.stringify(counts));
    }
    if (counts.SUCCESS === workflows) return true;
  }
  return false;
}

const statuses = (ground: Ground): Record<string, number> =>
  Object.fromEntries(
    ground
      .ask<{ status: string; n: number }>('select status, count(*) as n from workflows group by status')
      .map(({ status, n }) => [status, n]),
  );

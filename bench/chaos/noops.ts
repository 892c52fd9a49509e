import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../workers/log.ts';
import { openStore } from '../../workers/store.ts';
import { createEngine } from '../../workers/workflows/engine.ts';
import { coerceError } from '../../workers/errors.ts';
import { type Ground, openGround } from './ground.ts';
import { judgeQueue } from './judge-queue.ts';
import { judgeRuns } from './judge-records.ts';
import { randomOf } from './random.ts';
import { beginRestarts } from './strikes.ts';

export interface NoopsOptions {
  readonly folder: string;
  readonly workflows: number;
  readonly steps: number;
  readonly workers: number;
  readonly seed: number;
  /** Redis is killed after so many seconds, again and again, until the last workflow has ended. */
  readonly restart_seconds: readonly [number, number];
  readonly minutes: number;
  readonly overrides?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly tell: (line: string) => void;
}

export interface NoopsResult {
  readonly restarts: number;
  readonly seconds: number;
  /** Bodies that ran, and how many of them ran once more after an outage had hidden their end. */
  readonly bodies: number;
  readonly repeated: number;
  readonly problems: readonly string[];
}

const STARTS_AT_A_TIME = 32;

/** Workflows that do nothing, started and run while Redis is killed and started again. */
export async function chaosOfNoops(options: NoopsOptions): Promise<NoopsResult> {
  const { folder, workflows, steps, seed, tell, env = {}, overrides = {} } = options;
  const ground = await openGround({
    folder,
    workers: options.workers,
    watcher: false,
    env: { ...env, LONGSHORE_TASKS_PATH: join(import.meta.dirname, 'tasks'), LOG_LEVEL: 'warn' },
    overrides: { reload: { watch: 'off' }, schedules: [], ...overrides },
    tell,
  });
  const journal = join(folder, 'journal');
  const begun = performance.now();
  ground.start();
  const redis = beginRestarts(ground.processes, randomOf(seed), options.restart_seconds);
  try {
    await startAll(ground, workflows, steps, journal, tell);
    await ended(ground, workflows, options.minutes * 60_000, tell);
    await redis.stop();
    const seconds = (performance.now() - begun) / 1000;
    const { bodies, repeated, missing } = readJournal(journal, workflows * steps);
    const n = ground.count('select count(*) as n from workflows');
    const problems = [
      ...(n === workflows ? [] : [`${n} workflows for ${workflows} that were started`]),
      ...(missing === 0 ? [] : [`${missing} steps never ran`]),
      ...judgeRuns(ground),
      ...(await judgeQueue(ground)),
    ];
    return { restarts: redis.restarts, seconds, bodies, repeated, problems };
  } finally {
    await redis.stop();
    await ground.stop();
  }
}

/** Some are told that they are recorded, and not queued yet: those are left to the reconciliation, as the message says. */
async function startAll(
  { config }: Ground,
  workflows: number,
  steps: number,
  journal: string,
  tell: (line: string) => void,
): Promise<void> {
  const log = createLogger('chaos', {}, { level: 'silent', to: 2 });
  const store = await openStore(config);
  const engine = await createEngine({ config, store, log, wait_seconds: 60 });
  const definition = {
    name: 'noop',
    steps: Array.from({ length: steps }, (_, at) => ({
      name: `step ${at}`,
      task: 'chaos_noop',
      kwargs: { journal },
    })),
  };
  let next = 1;
  let later = 0;
  const starter = async (): Promise<void> => {
    while (next <= workflows) {
      const dataset_id = next;
      next += 1;
      try {
        await engine.start(definition, { dataset_id, initiator: 'chaos', alongside: true });
      } catch (error) {
        if (coerceError(error).fields.workflow_id === undefined) throw error;
        later += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: STARTS_AT_A_TIME }, starter));
  await engine.close();
  await store.close();
  tell(`${workflows} workflows are recorded; ${later} of them are to be queued by the reconciliation`);
}

const TELL_EVERY_MS = 10_000;

async function ended(
  ground: Ground,
  workflows: number,
  ms: number,
  tell: (line: string) => void,
): Promise<void> {
  const deadline = Date.now() + ms;
  for (let told = 0; Date.now() < deadline; await sleep(250)) {
    const n = ground.count("select count(*) as n from workflows where status = 'SUCCESS'");
    if (Date.now() - told > TELL_EVERY_MS) {
      told = Date.now();
      tell(`${n} of ${workflows} have ended`);
    }
    if (n === workflows) return;
  }
}

function readJournal(file: string, steps: number): { bodies: number; repeated: number; missing: number } {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  const different = new Set(lines).size;
  return { bodies: lines.length, repeated: lines.length - different, missing: steps - different };
}

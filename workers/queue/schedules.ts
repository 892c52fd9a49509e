import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'bullmq';
import { CronExpressionParser } from 'cron-parser';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { reportErrors } from './queues.ts';
import { createRefusals, type Refusals, refusesForNow } from './refusals.ts';
import { openScheduleRuns } from './schedule-runs.ts';
import { takeTurn, type TurnParts } from './schedule-turn.ts';
import {
  openTickQueue,
  type Schedule,
  scheduleId,
  TICK_OPTIONS,
  type Tick,
  type TickQueue,
  tickQueueName,
  tickQueueOptions,
} from './tick-queue.ts';

const SCRIPTS = join(import.meta.dirname, '../../scripts');
/** Different scripts may run at the same time; the same one excludes itself with its lock. */
const CONCURRENCY = 4;
/** A living fleet begins a turn within seconds; one that is later than this found nobody when it was due. */
const MISSED_AFTER_MS = 60_000;
/** For turns that were put beyond their time by a clock that is put right by now. */
const LOOK_AGAIN_MS = 600_000;

export interface Schedules {
  /** Lets scripts that run go on by themselves, and hands their turns to whoever is there next. */
  close(): Promise<void>;
}

export interface ScheduleOptions {
  /** Where the scripts are. */
  readonly folder?: string;
  readonly missed_after_ms?: number;
  /** Of the process; else its own. */
  readonly refusals?: Refusals;
}

/**
 * Runs config.schedules: every turn once in the whole fleet, whichever worker gets it, each script as a process of
 * its own. A turn that finds the previous run still active is skipped by the script's lock and logged, not killed. A
 * turn that found no worker waits in Redis (one, however many were missed): it is run late, or left out where the
 * schedule says `missed: 'skip'`.
 */
export async function openSchedules(
  config: Config,
  redis: Redis,
  log: Logger,
  options: ScheduleOptions = {},
): Promise<Schedules> {
  const { folder = SCRIPTS, missed_after_ms = MISSED_AFTER_MS } = options;
  const { refusals = createRefusals(redis, config.queue.prefix, log) } = options;
  const queue = openTickQueue(config, redis, log);
  const runs = openScheduleRuns(config, redis);
  const announce = (): Promise<void> =>
    refusals.through(async () => {
      await publish(queue, config.schedules, folder, log);
      await runs.keepOnly(config.schedules.map(scheduleId));
    });
  await announce();
  if (config.schedules.length === 0) {
    return { close: () => queue.close() };
  }
  // A Redis that comes back may have lost everything, the schedules too.
  const again = (): void => {
    if (redis.status !== 'ready') return;
    announce().catch((error: unknown) => log.warn({ err: error }, 'schedules could not be published'));
  };
  redis.on('ready', again);
  const lookingAgain = setInterval(again, LOOK_AGAIN_MS).unref();
  const closing = new AbortController();
  const parts: TurnParts = { config, redis, folder, missed_after_ms, runs, log, closing: closing.signal };
  const worker = new Worker<Tick, string>(
    tickQueueName(config),
    (job, token) => takeTurn(job, token, parts),
    {
      ...tickQueueOptions(config, redis),
      concurrency: CONCURRENCY,
      lockDuration: 30_000,
      drainDelay: 2,
      // A script outlives the deaths of its workers, however many there are while it runs.
      maxStalledCount: 1_000,
    },
  );
  reportErrors(worker, log, refusals);
  return {
    close: async () => {
      redis.off('ready', again);
      clearInterval(lookingAgain);
      // Each turn whose script runs is handed over: its lock must not run out before somebody looks after it.
      closing.abort();
      await worker.close();
      await queue.close();
    },
  };
}

/**
 * The schedules in Redis become those of the configuration: new ones are added, others removed. One that is there as
 * it should be is not touched: to put it again would move its next turn into the future, and a turn that was missed
 * while no worker was there would be lost by the very start that is to catch up with it. But one whose next turn is beyond
 * its time is put again: a host whose clock was ahead, as after a boot, has put it there, and it would not run until then.
 */
async function publish(
  queue: TickQueue,
  schedules: readonly Schedule[],
  folder: string,
  log: Logger,
): Promise<void> {
  const known = new Map((await queue.getJobSchedulers(0, -1)).map((one) => [one.key, one]));
  for (const schedule of schedules) {
    const { script, args, cron, missed } = schedule;
    if (!existsSync(join(folder, `${script}.ts`)))
      log.error({ script, cron }, 'config.schedules names a script that scripts/ does not have');
    const data: Tick = { script, args: [...args], missed };
    const there = known.get(scheduleId(schedule));
    const same = there?.pattern === cron && JSON.stringify(there.template?.data) === JSON.stringify(data);
    if (same && !isBeyond(cron, there.next)) continue;
    const template = { name: script, data, opts: TICK_OPTIONS };
    try {
      await queue.upsertJobScheduler(scheduleId(schedule), { pattern: cron }, template);
    } catch (error) {
      if (refusesForNow(error)) throw error;
      // One mistake must not keep the others, and the worker, from running; nor may its old turns go on under the new text.
      log.error({ err: error, script, cron }, 'a schedule could not be published');
      if (there !== undefined) await queue.removeJobScheduler(scheduleId(schedule));
    }
  }
  const wanted = new Set(schedules.map(scheduleId));
  for (const key of known.keys()) if (!wanted.has(key)) await queue.removeJobScheduler(key);
}

/** By more than a turn: of two hosts one may already count from a turn that the other still waits for. */
function isBeyond(cron: string, next: number | undefined): boolean {
  const times = CronExpressionParser.parse(cron);
  times.next();
  return next !== undefined && next > times.next().getTime();
}

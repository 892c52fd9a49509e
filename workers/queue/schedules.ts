import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Job, Queue, WaitingError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { reportErrors } from './queues.ts';
import { openScheduleRuns, type ScheduleRun, type ScheduleRuns } from './schedule-runs.ts';
import { EXIT_BUSY, holderOf } from './script-lock.ts';

export type Schedule = Config['schedules'][number];

/** One turn of a schedule, or a run that a person asked for. */
export interface Tick {
  readonly script: string;
  readonly args: readonly string[];
  /** Of its schedule; absent in turns that an older release has queued. */
  readonly missed?: Schedule['missed'];
  readonly by_hand?: boolean;
}

export type TickQueue = Queue<Tick, string>;

const SCRIPTS = join(import.meta.dirname, '../../scripts');
/** Different scripts may run at the same time; the same one excludes itself with its lock. */
const CONCURRENCY = 4;
/** A living fleet begins a turn within seconds; one that is later than this found nobody when it was due. */
const MISSED_AFTER_MS = 60_000;

export interface Schedules {
  /** Lets scripts that run go on by themselves: they hold their own lock. */
  close(): Promise<void>;
}

export interface ScheduleOptions {
  /** Where the scripts are. */
  readonly folder?: string;
  readonly missed_after_ms?: number;
}

export const scheduleId = ({ script, args }: Pick<Schedule, 'script' | 'args'>): string =>
  [script, ...args].join(' ');

export function openTickQueue(config: Config, redis: Redis, log: Logger): TickQueue {
  const queue: TickQueue = new Queue<Tick, string>(queueName(config), queueOptions(config, redis));
  reportErrors(queue, log);
  return queue;
}

const queueName = (config: Config): string => `${config.app_id}.schedules`;
const queueOptions = (config: Config, connection: Redis) => ({ connection, prefix: config.queue.prefix });

/** Turns that have ended are kept for a while for those who look; what is shown of them is in schedule-runs.ts. */
export const TICK_OPTIONS = { removeOnComplete: { count: 100 }, removeOnFail: { count: 100 } };

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
  { folder = SCRIPTS, missed_after_ms = MISSED_AFTER_MS }: ScheduleOptions = {},
): Promise<Schedules> {
  const queue = openTickQueue(config, redis, log);
  const runs = openScheduleRuns(config, redis);
  const announce = async (): Promise<void> => {
    await publish(queue, config.schedules, folder, log);
    await runs.keepOnly(config.schedules.map(scheduleId));
  };
  await announce();
  if (config.schedules.length === 0) {
    return { close: () => queue.close() };
  }
  // A Redis that comes back may have lost everything, the schedules too.
  const again = (): void =>
    void announce().catch((error: unknown) => log.warn({ err: error }, 'schedules could not be published'));
  redis.on('ready', again);
  const children = new Set<ChildProcess>();
  let closing = false;
  const isHeld = async (script: string): Promise<boolean> => (await holderOf(config, redis, script)) !== null;
  const parts: Parts = { folder, missed_after_ms, runs, children, log, isClosing: () => closing, isHeld };
  const worker = new Worker<Tick, string>(queueName(config), (job, token) => takeTurn(job, token, parts), {
    ...queueOptions(config, redis),
    concurrency: CONCURRENCY,
    lockDuration: 30_000,
    drainDelay: 2,
  });
  reportErrors(worker, log);
  return {
    close: async () => {
      closing = true;
      redis.off('ready', again);
      for (const child of children) child.unref();
      await worker.close(children.size > 0);
      await queue.close();
    },
  };
}

/**
 * The schedules in Redis become those of the configuration: new ones are added, others removed. One that is there as
 * it should be is not touched: to put it again would move its next turn into the future, and a turn that was missed
 * while no worker was there would be lost by the very start that is to catch up with it.
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
    if (there?.pattern === cron && JSON.stringify(there.template?.data) === JSON.stringify(data)) continue;
    const template = { name: script, data, opts: TICK_OPTIONS };
    try {
      await queue.upsertJobScheduler(scheduleId(schedule), { pattern: cron }, template);
    } catch (error) {
      // One mistake must not keep the others, and the worker, from running.
      log.error({ err: error, script, cron }, 'a schedule could not be published');
    }
  }
  const wanted = new Set(schedules.map(scheduleId));
  for (const key of known.keys()) if (!wanted.has(key)) await queue.removeJobScheduler(key);
}

interface Parts {
  readonly folder: string;
  readonly missed_after_ms: number;
  readonly runs: ScheduleRuns;
  readonly children: Set<ChildProcess>;
  readonly log: Logger;
  readonly isClosing: () => boolean;
  /** Whether somebody holds the lock of this script. */
  readonly isHeld: (script: string) => Promise<boolean>;
}

/** When this turn should have begun: BullMQ delays it from the moment it was added. */
const dueOf = ({ timestamp, opts }: Job<Tick>): number => timestamp + (opts.delay ?? 0);

async function takeTurn(job: Job<Tick>, token: string | undefined, parts: Parts): Promise<string> {
  const { runs, log } = parts;
  const { script, args, missed = 'run', by_hand = false } = job.data;
  const id = scheduleId(job.data);
  const late_ms = Date.now() - dueOf(job);
  const due = by_hand ? null : new Date(dueOf(job)).toISOString();
  if (due !== null && late_ms > parts.missed_after_ms) {
    if (missed === 'skip') {
      log.warn({ script, args, due }, 'a scheduled run was missed, and is left out');
      await runs.putSkip(id, { at: new Date().toISOString(), due, why: 'missed' });
      return 'missed';
    }
    log.warn({ script, args, due }, 'a scheduled run was missed, and is run now');
  }
  const before = (await runs.last(id)).run;
  // One that is at work stays the one that is shown: this turn will most likely be left out.
  const hidden = before?.outcome === 'running' && (await parts.isHeld(script));
  const begun: ScheduleRun = {
    job_id: job.id ?? '',
    due,
    started_at: new Date().toISOString(),
    ended_at: null,
    outcome: 'running',
    reason: null,
    worker: `${hostname()}:${process.pid}`,
  };
  // Nothing is awaited between this look and the start: a worker that leaves starts nothing more.
  if (parts.isClosing()) {
    await job.moveToWait(token);
    throw new WaitingError();
  }
  const running = runScript(job.data, parts);
  if (!hidden) await runs.putRun(id, begun);
  const failure = await running;
  const now = new Date().toISOString();
  if (failure === BUSY) {
    log.warn({ script, args }, 'a scheduled run was skipped: the previous one is still active');
    await runs.putSkip(id, { at: now, due, why: 'busy' });
    // Unless the one that it found has ended meanwhile and said so.
    if (before !== null && (await runs.last(id)).run?.job_id === begun.job_id) await runs.putRun(id, before);
    return 'skipped';
  }
  const outcome = failure === null ? 'done' : 'failed';
  await runs.putRun(id, { ...begun, ended_at: now, outcome, reason: failure });
  if (failure === null) return 'done';
  log.error({ script, args, reason: failure }, 'a scheduled script failed');
  throw new Error(failure);
}

const BUSY = 'another run is still active';

/** Null: it went well. BUSY: another run of it holds its lock. Else why it failed. */
async function runScript({ script, args }: Tick, { folder, children }: Parts): Promise<string | null> {
  const child = spawn(process.execPath, [join(folder, `${script}.ts`), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  children.add(child);
  try {
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (exit_code, exit_signal) => resolve([exit_code, exit_signal]));
    });
    if (code === 0) return null;
    if (code === EXIT_BUSY) return BUSY;
    return `scripts/${script}.ts ended with ${signal === null ? `exit code ${code}` : `signal ${signal}`}`;
  } catch (error) {
    return `scripts/${script}.ts could not be started: ${(error as Error).message}`;
  } finally {
    children.delete(child);
  }
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { UnrecoverableError, WaitingError } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { type ScheduleRun, type ScheduleRuns, STARTS_WITHIN_MS } from './schedule-runs.ts';
import { EXIT_BUSY, holderOf, turnAtWork } from './script-lock.ts';
import { scheduleId, type TickJob } from './tick-queue.ts';
import { endNow, failureOf, TURN_VARIABLE, type TurnEnd, turnEnd } from './turn-end.ts';

export interface TurnParts {
  readonly config: Config;
  readonly redis: Redis;
  /** Where the scripts are. */
  readonly folder: string;
  readonly missed_after_ms: number;
  readonly runs: ScheduleRuns;
  readonly log: Logger;
  /** The worker leaves. */
  readonly closing: AbortSignal;
}

const NAMED_LINES = join(import.meta.dirname, 'named-lines.ts');
const LOOK_EVERY_MS = 500;
const BUSY = 'another run is still active';
const LEFT = 'its worker leaves';

const here = (): string => `${hostname()}:${process.pid}`;

/** When this turn should have begun: BullMQ delays it from the moment it was added. */
const dueAt = ({ timestamp, opts }: TickJob): number => timestamp + (opts.delay ?? 0);
const dueOf = (job: TickJob): string | null =>
  job.data.by_hand === true ? null : new Date(dueAt(job)).toISOString();

/**
 * One turn, from its place in the queue to what is remembered of it. Its script is a process that outlives this worker:
 * when the worker leaves, the turn goes back to the queue, and whoever takes it next waits for the script that runs.
 */
export async function takeTurn(job: TickJob, token: string | undefined, parts: TurnParts): Promise<string> {
  const { runs, log } = parts;
  refuseOthers(job, parts);
  const { script, args } = job.data;
  const id = scheduleId(job.data);
  const before = (await runs.last(id)).run;
  const begun_at = before !== null && before.job_id === job.id ? Date.parse(before.started_at) : 0;
  const earlier = await endOfStarted(job, token, parts, begun_at);
  if (earlier !== null) return conclude(job, earlier, parts);
  if (await leavesOut(job, parts)) return 'missed';
  // One that is at work stays the one that is shown: this turn will most likely be left out.
  const hidden =
    before?.outcome === 'running' && (await holderOf(parts.config, parts.redis, script)) !== null;
  const begun: ScheduleRun = {
    job_id: job.id ?? '',
    due: dueOf(job),
    started_at: new Date().toISOString(),
    ended_at: null,
    outcome: 'running',
    reason: null,
    worker: here(),
  };
  // Nothing is awaited between this look and the start: a worker that leaves starts nothing more.
  if (parts.closing.aborted) return handBack(job, token);
  const running = runScript(job, parts);
  if (!hidden) await runs.putRun(id, begun);
  const result = await running;
  if (result === LEFT) {
    log.info({ script, args }, 'a scheduled script goes on by itself; its turn waits for the next worker');
    return handBack(job, token);
  }
  const end = result === BUSY ? await endOfStarted(job, token, parts) : endNow(begun.started_at, result);
  if (end !== null) return conclude(job, end, parts);
  log.warn({ script, args }, 'a scheduled run was skipped: the previous one is still active');
  await runs.putSkip(id, { at: new Date().toISOString(), due: begun.due, why: 'busy' });
  // Unless the one that it found has ended meanwhile and said so.
  if (before !== null && (await runs.last(id)).run?.job_id === begun.job_id) await runs.putRun(id, before);
  return 'skipped';
}

/**
 * What is run as this user stands in the configuration. A turn is only a reminder of it: else whoever may write to Redis
 * could name any file of this host, and any command of Longshore with any arguments.
 */
function refuseOthers({ data }: TickJob, { config, log }: TurnParts): void {
  const { script, args } = data;
  if (config.schedules.some((one) => one.script === script && isDeepStrictEqual(one.args, args))) return;
  log.error({ script, args }, 'a turn of no schedule of this configuration is not run');
  throw new UnrecoverableError('config.schedules of the worker that took this turn has no such schedule');
}

/** Missed, and its schedule wants no late ones. */
async function leavesOut(job: TickJob, { runs, missed_after_ms, log }: TurnParts): Promise<boolean> {
  const { script, args, missed = 'run' } = job.data;
  const due = dueOf(job);
  if (due === null || Date.now() - dueAt(job) <= missed_after_ms) return false;
  if (missed === 'run') {
    log.warn({ script, args, due }, 'a scheduled run was missed, and is run now');
    return false;
  }
  log.warn({ script, args, due }, 'a scheduled run was missed, and is left out');
  await runs.putSkip(scheduleId(job.data), { at: new Date().toISOString(), due, why: 'missed' });
  return true;
}

/**
 * The end of the script that another worker has started for this turn, once it has come. Null: none was started, or it
 * died without a word.
 *
 * @param begun_at when it was started, in ms, where that is known: it may not have its lock yet
 */
async function endOfStarted(
  job: TickJob,
  token: string | undefined,
  { config, redis, closing }: TurnParts,
  begun_at = 0,
): Promise<TurnEnd | null> {
  const turn = job.id ?? '';
  for (;;) {
    // In this order: a script tells its end before it gives its lock back.
    const runs = (await turnAtWork(config, redis, job.data.script)) === turn;
    const end = await turnEnd(config, redis, turn);
    if (end !== null) return end;
    if (!runs && Date.now() - begun_at > STARTS_WITHIN_MS) return null;
    await sleep(LOOK_EVERY_MS, undefined, { signal: closing }).catch(() => undefined);
    if (closing.aborted) return handBack(job, token);
  }
}

async function handBack(job: TickJob, token: string | undefined): Promise<never> {
  await job.moveToWait(token);
  throw new WaitingError();
}

/** @throws what the script failed with: so it stands in the queue, too */
async function conclude(job: TickJob, end: TurnEnd, { runs, log }: TurnParts): Promise<string> {
  const { script, args } = job.data;
  const id = scheduleId(job.data);
  const shown = (await runs.last(id)).run;
  const worker = shown !== null && shown.job_id === job.id ? shown.worker : here();
  await runs.putRun(id, { job_id: job.id ?? '', due: dueOf(job), worker, ...end });
  if (end.outcome === 'done') return 'done';
  log.error({ script, args, reason: end.reason }, 'a scheduled script failed');
  throw new Error(end.reason ?? '');
}

/** Why the script failed, null where it went well; LEFT: the worker leaves first; BUSY: another run holds the lock. */
async function runScript(
  { id = '', data: { script, args } }: TickJob,
  { folder, closing }: TurnParts,
): Promise<string | null> {
  const child = spawn(process.execPath, ['--import', NAMED_LINES, join(folder, `${script}.ts`), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, [TURN_VARIABLE]: id },
  });
  try {
    const [code, signal] = (await once(child, 'exit', { signal: closing })) as [number, string | null];
    if (code === EXIT_BUSY) return BUSY;
    return signal === null ? failureOf(script, code) : `scripts/${script}.ts ended with signal ${signal}`;
  } catch (error) {
    if (!closing.aborted) return `scripts/${script}.ts could not be started: ${(error as Error).message}`;
    child.unref();
    return LEFT;
  }
}

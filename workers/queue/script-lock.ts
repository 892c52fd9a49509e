import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { connectRedis } from './connection.ts';
import { releaseLocks, renewLocks, takeLocks } from './token-lock.ts';
import { endNow, failureOf, ownTurn, putTurnEnd, turnEnd } from './turn-end.ts';

export interface LockOptions {
  /** The lock ends by itself so long after it was renewed last. */
  readonly lease_ms?: number;
  /** So long a script that has lost its lock may take to come to its end. */
  readonly leave_ms?: number;
  /** What it acts on: the script may run on other subjects meanwhile. Without, it runs once in all. */
  readonly subjects?: readonly string[];
  /** A lost lock does not end it: a second one beside it does no harm, and half of it would be less than both. */
  readonly outlives_lock?: boolean;
  /** How long to wait for a Redis that does not answer. */
  readonly wait_seconds?: number;
}

/** For a Redis that goes away just now, or fails over, a person waits no longer: the lock ends by itself. */
const GIVE_BACK_MS = 5_000;
/** EX_TEMPFAIL of sysexits.h: the same script runs already; nothing was done. */
export const EXIT_BUSY = 75;

const keyOf = (config: Config, script: string, subject?: string): string =>
  [config.queue.prefix, config.app_id, 'script', script, ...(subject === undefined ? [] : [subject])].join(
    ':',
  );

export interface Holder {
  /** `host:pid` */
  readonly holder: string;
  /** ISO 8601 by the clock of its host; null: it does not say. */
  readonly since: string | null;
}

/** `host:pid:since.uuid[:turn]`, with the time in milliseconds. */
function tokenOf(turn: string | null): string {
  const since = `${Date.now()}.${randomUUID()}`;
  return [hostname(), process.pid, since, ...(turn === null ? [] : [turn])].join(':');
}

function holderIn(token: string): Holder {
  const [host, pid, since = ''] = token.split(':');
  const at = /^([0-9]{1,15})\./.exec(since)?.[1];
  return {
    holder: pid === undefined ? `${host}` : `${host}:${pid}`,
    since: at === undefined ? null : new Date(Number(at)).toISOString(),
  };
}

/** `host:pid` of who holds the lock of a script; null: it does not run. */
export async function holderOf(
  config: Config,
  redis: Redis,
  script: string,
  subject?: string,
): Promise<string | null> {
  const token = await redis.get(keyOf(config, script, subject));
  return token === null ? null : holderIn(token).holder;
}

/** The turn of a schedule that holds the lock of a script; null: none, though a person's run may. */
export async function turnAtWork(config: Config, redis: Redis, script: string): Promise<string | null> {
  const holder = await redis.get(keyOf(config, script));
  return holder?.split(':').slice(3).join(':') || null;
}

export type LockedOutcome<T> =
  | { ran: true; result: T }
  /** Nobody: it is the turn of a schedule that was run elsewhere, to its end. */
  | { ran: false; busy: (Holder & { subject: string | null }) | null };

/**
 * Runs a script's work once at a time over the whole fleet, whether a schedule or a person started it. The lock is
 * renewed while the work goes on and ends by itself soon after its holder has died. The signal is aborted when the lock
 * is lost all the same, also when Redis has been away for so long that it must have ended: the work should stop then.
 * What does not stop (it waits for that Redis itself, which may never come back) is ended with its process, or a
 * crontab would add another one to it every day. As the turn of a schedule it tells its end, and does nothing when the
 * turn has ended: another worker has started it as well, before this process had the lock.
 */
export async function withScriptLock<T>(
  config: Config,
  script: string,
  log: Logger,
  body: (signal: AbortSignal) => Promise<T>,
  {
    lease_ms = 30_000,
    leave_ms = 60_000,
    subjects,
    outlives_lock = false,
    wait_seconds = 30,
  }: LockOptions = {},
): Promise<LockedOutcome<T>> {
  const redis = await connectRedis(config, { log, wait_seconds, name: `longshore-script-${script}` });
  const keys = subjects?.map((subject) => keyOf(config, script, subject)) ?? [keyOf(config, script)];
  const turn = ownTurn();
  const token = tokenOf(turn);
  const lost = new AbortController();
  const lose = (): void => {
    if (outlives_lock || lost.signal.aborted) return;
    lost.abort(new Error(`the lock of script ${script} was lost`));
    leaving = setTimeout(() => {
      log.error({ script }, 'the lock of this script was lost, and it does not end by itself');
      process.exit(1);
    }, leave_ms).unref();
  };
  let leaving: NodeJS.Timeout | undefined;
  let timer: NodeJS.Timeout | undefined;
  // By a clock that nobody sets: one that is put right must not end a script.
  let renewed_at = performance.now();
  /**
   * While the lock may still be there somebody has to give it back, or the turns of the next half a minute are left out,
   * and the end of this one would be known to nobody. For a turn no person waits.
   */
  const patience_ms = (): number => {
    if (redis.status === 'ready') return GIVE_BACK_MS;
    const left_ms = renewed_at + lease_ms - performance.now();
    return turn === null ? Math.min(GIVE_BACK_MS, left_ms) : left_ms;
  };
  try {
    const held = await takeLocks(redis, keys, token, lease_ms);
    if (held !== null) {
      const subject = subjects?.[keys.indexOf(held.key)] ?? null;
      return { ran: false, busy: { ...holderIn(held.token), subject } };
    }
    if (turn !== null && (await turnEnd(config, redis, turn)) !== null) return { ran: false, busy: null };
    timer = setInterval(() => {
      if (performance.now() - renewed_at > lease_ms) lose();
      const asked_at = performance.now();
      renewLocks(redis, keys, token, lease_ms).then(
        (renewed) => {
          if (renewed) renewed_at = asked_at;
          else lose();
        },
        (error: unknown) => log.warn({ err: error, script }, 'the lock of a script could not be renewed'),
      );
    }, lease_ms / 3);
    const work = body(lost.signal);
    return {
      ran: true,
      result:
        turn === null ? await work : await telling(work, { config, redis, turn, script, log, patience_ms }),
    };
  } finally {
    clearInterval(timer);
    clearTimeout(leaving);
    await within(patience_ms(), releaseLocks(redis, keys, token));
    redis.disconnect();
  }
}

interface Telling {
  config: Config;
  redis: Redis;
  turn: string;
  script: string;
  log: Logger;
  /** How long to wait for a Redis that is away. */
  patience_ms: () => number;
}

/** What the work ends with, told before the lock is free. A body answers its exit code, or leaves it to the process. */
async function telling<T>(
  work: Promise<T>,
  { config, redis, turn, script, log, patience_ms }: Telling,
): Promise<T> {
  const started_at = new Date().toISOString();
  const tell = async (reason: string | null): Promise<void> => {
    await within(patience_ms(), putTurnEnd(config, redis, turn, endNow(started_at, reason))).catch(
      (error: unknown) => log.warn({ err: error, script }, 'the end of a scheduled run could not be told'),
    );
  };
  try {
    const result = await work;
    await tell(failureOf(script, typeof result === 'number' ? result : Number(process.exitCode ?? 0)));
    return result;
  } catch (error) {
    await tell((error as Error).message);
    throw error;
  }
}

/** A command waits for a Redis that is away, however long. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  if (ms <= 0) return void work.catch(() => undefined);
  const waiting = new AbortController();
  await Promise.race([work, sleep(ms, undefined, { signal: waiting.signal }).catch(() => undefined)]);
  waiting.abort();
}

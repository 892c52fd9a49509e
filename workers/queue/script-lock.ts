import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { connectRedis } from './connection.ts';
import { releaseLock, takeLock } from './token-lock.ts';
import { endNow, failureOf, ownTurn, putTurnEnd, turnEnd } from './turn-end.ts';

export interface LockTimes {
  /** The lock ends by itself so long after it was renewed last. */
  readonly lease_ms: number;
  /** So long a script that has lost its lock may take to come to its end. */
  readonly leave_ms: number;
}

const TIMES: LockTimes = { lease_ms: 30_000, leave_ms: 60_000 };
/** The lock of who does not give it back in time ends by itself. */
const GIVE_BACK_MS = 5_000;
/** EX_TEMPFAIL of sysexits.h: the same script runs already; nothing was done. */
export const EXIT_BUSY = 75;

const RENEW = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0`;

const keyOf = (config: Config, script: string): string =>
  `${config.queue.prefix}:${config.app_id}:script:${script}`;

/** `host:pid` of who holds the lock of a script; null: it does not run. */
export async function holderOf(config: Config, redis: Redis, script: string): Promise<string | null> {
  const holder = await redis.get(keyOf(config, script));
  return holder === null ? null : holder.split(':').slice(0, 2).join(':');
}

/** The turn of a schedule that holds the lock of a script; null: none, though a person's run may. */
export async function turnAtWork(config: Config, redis: Redis, script: string): Promise<string | null> {
  const holder = await redis.get(keyOf(config, script));
  return holder?.split(':').slice(3).join(':') || null;
}

export type LockedOutcome<T> = { ran: true; result: T } | { ran: false; holder: string };

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
  { lease_ms, leave_ms }: LockTimes = TIMES,
): Promise<LockedOutcome<T>> {
  const redis = await connectRedis(config, { log, wait_seconds: 30, name: `longshore-script-${script}` });
  const key = keyOf(config, script);
  const turn = ownTurn();
  const holder = [hostname(), process.pid, randomUUID(), ...(turn === null ? [] : [turn])].join(':');
  const lost = new AbortController();
  const lose = (): void => {
    if (lost.signal.aborted) return;
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
  try {
    if (!(await takeLock(redis, key, holder, lease_ms))) {
      const other = (await holderOf(config, redis, script)) ?? 'unknown';
      log.warn({ script, holder: other }, 'skipped: the previous run is still active');
      return { ran: false, holder: other };
    }
    if (turn !== null && (await turnEnd(config, redis, turn)) !== null) return { ran: false, holder };
    timer = setInterval(() => {
      if (performance.now() - renewed_at > lease_ms) lose();
      const asked_at = performance.now();
      redis.eval(RENEW, 1, key, holder, lease_ms).then(
        (renewed) => {
          if (renewed === 0) lose();
          else renewed_at = asked_at;
        },
        (error: unknown) => log.warn({ err: error, script }, 'the lock of a script could not be renewed'),
      );
    }, lease_ms / 3);
    const work = body(lost.signal);
    return {
      ran: true,
      result: turn === null ? await work : await telling(work, { config, redis, turn, script, log }),
    };
  } finally {
    clearInterval(timer);
    clearTimeout(leaving);
    if (redis.status === 'ready') await within(GIVE_BACK_MS, releaseLock(redis, key, holder));
    redis.disconnect();
  }
}

interface Telling {
  config: Config;
  redis: Redis;
  turn: string;
  script: string;
  log: Logger;
}

/** What the work ends with, told before the lock is free. A body answers its exit code, or leaves it to the process. */
async function telling<T>(work: Promise<T>, { config, redis, turn, script, log }: Telling): Promise<T> {
  const started_at = new Date().toISOString();
  const tell = async (reason: string | null): Promise<void> => {
    if (redis.status !== 'ready') return;
    await within(GIVE_BACK_MS, putTurnEnd(config, redis, turn, endNow(started_at, reason))).catch(
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

/** A command waits for a Redis that goes away just now, however long. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const waiting = new AbortController();
  await Promise.race([work, sleep(ms, undefined, { signal: waiting.signal }).catch(() => undefined)]);
  waiting.abort();
}

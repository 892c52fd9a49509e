import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { connectRedis } from './connection.ts';
import { releaseLock, takeLock } from './token-lock.ts';

const LEASE_MS = 30_000;
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

export type LockedOutcome<T> = { ran: true; result: T } | { ran: false; holder: string };

/**
 * Runs a script's work once at a time over the whole fleet, whether a schedule or a person started it. The lock is
 * renewed while the work goes on and ends by itself soon after its holder has died. The signal is aborted when
 * the lock is lost all the same (a Redis that was away for long): the work should stop then.
 */
export async function withScriptLock<T>(
  config: Config,
  script: string,
  log: Logger,
  body: (signal: AbortSignal) => Promise<T>,
): Promise<LockedOutcome<T>> {
  const redis = await connectRedis(config, { log, wait_seconds: 30, name: `longshore-script-${script}` });
  const key = keyOf(config, script);
  const holder = `${hostname()}:${process.pid}:${randomUUID()}`;
  const lost = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  try {
    if (!(await takeLock(redis, key, holder, LEASE_MS))) {
      const other = (await holderOf(config, redis, script)) ?? 'unknown';
      log.warn({ script, holder: other }, 'skipped: the previous run is still active');
      return { ran: false, holder: other };
    }
    timer = setInterval(() => {
      redis.eval(RENEW, 1, key, holder, LEASE_MS).then(
        (renewed) => {
          if (renewed === 0) lost.abort(new Error(`the lock of script ${script} was lost`));
        },
        (error: unknown) => log.warn({ err: error, script }, 'the lock of a script could not be renewed'),
      );
    }, LEASE_MS / 3);
    return { ran: true, result: await body(lost.signal) };
  } finally {
    clearInterval(timer);
    if (redis.status === 'ready') await releaseLock(redis, key, holder);
    redis.disconnect();
  }
}

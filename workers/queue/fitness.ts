/** Whether a Redis keeps what it is given. A failover, or a person, may put another one in its place at any time. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';

/** For what is changed on a Redis that stays connected. */
const LOOK_EVERY_MS = 5_000;

/**
 * Refuses a Redis that may forget jobs under memory pressure, and warns about one that keeps nothing on disk (its
 * jobs come back from the records, but delays and positions are lost).
 *
 * @throws E_REDIS_UNAVAILABLE
 */
export async function checkRedis(redis: Redis, log: Logger): Promise<void> {
  const unfit = await whyUnfit(redis);
  if (unfit !== null) throw unfit;
  if (parseInfo(await redis.info('persistence')).get('aof_enabled') === '0') {
    log.warn(
      'Redis does not append to disk (appendonly no): after a crash, jobs are put back from the records',
    );
  }
}

/** Null: it drops nothing. Read from INFO, because managed servers forbid CONFIG. */
export async function whyUnfit(redis: Redis): Promise<LongshoreError | null> {
  const policy = parseInfo(await redis.info('memory')).get('maxmemory_policy');
  if (policy === undefined || policy === 'noeviction') return null;
  return new LongshoreError(
    'E_REDIS_UNAVAILABLE',
    `Redis may drop jobs: its maxmemory-policy is "${policy}", expected "noeviction"`,
    {
      fields: { maxmemory_policy: policy },
      hint: 'Set `maxmemory-policy noeviction` in redis.conf (or with CONFIG SET); workers take no jobs without it.',
    },
  );
}

export interface FitnessWatch {
  stop(): void;
}

/**
 * For processes that stay: looks whenever the connection is ready, and every few seconds. The log tells when Redis becomes unfit
 * and when it is fit again, and `onChange` is told the same.
 */
export function watchFitness(
  redis: Redis,
  log: Logger,
  onChange: (unfit: LongshoreError | null) => void = () => undefined,
): FitnessWatch {
  const stopping = new AbortController();
  const { signal } = stopping;
  let unfit: LongshoreError | null = null;
  let looking: Promise<void> = Promise.resolve();
  const look = async (): Promise<void> => {
    if (redis.status !== 'ready') return;
    const before = unfit;
    const now = await whyUnfit(redis);
    if (signal.aborted || now?.message === before?.message) return;
    unfit = now;
    if (now !== null) log.error({ code: now.code, hint: now.hint }, now.message);
    else log.info('Redis keeps all jobs again (maxmemory-policy noeviction)');
    onChange(now);
  };
  const lookNow = (): void => {
    looking = looking.then(look).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ err: error }, 'it could not be seen whether Redis is fit');
    });
  };
  const lookAgain = async (): Promise<void> => {
    while (!signal.aborted) {
      lookNow();
      await looking;
      await sleep(LOOK_EVERY_MS, undefined, { signal, ref: false });
    }
  };
  redis.on('ready', lookNow);
  lookAgain().catch(() => undefined); // Stopped.
  return {
    stop: () => {
      stopping.abort();
      redis.off('ready', lookNow);
    },
  };
}

/** The lines of INFO by their keys. */
export function parseInfo(text: string): Map<string, string> {
  const pairs = text.split(/\r?\n/).map((line) => line.split(':', 2));
  return new Map(pairs.flatMap(([key, value]) => (key && value !== undefined ? [[key, value]] : [])));
}

/** Whether a Redis keeps what it is given. A failover, or a person, may put another one in its place at any time. */
import type { Redis } from 'ioredis';
import { LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';

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

/** The lines of INFO by their keys. */
export function parseInfo(text: string): Map<string, string> {
  const pairs = text.split(/\r?\n/).map((line) => line.split(':', 2));
  return new Map(pairs.flatMap(([key, value]) => (key && value !== undefined ? [[key, value]] : [])));
}

/** How many of the whole fleet may do something at a time: a set per resource in Redis, whose entries end by themselves. */
import type { Redis } from 'ioredis';

/** Entries that have run out go; a holder renews its own; a new one is let in while there is room. */
const TAKE = `
redis.call('zremrangebyscore', KEYS[1], '-inf', ARGV[1])
if not redis.call('zscore', KEYS[1], ARGV[3]) and redis.call('zcard', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('zadd', KEYS[1], ARGV[2], ARGV[3])
redis.call('pexpireat', KEYS[1], ARGV[2] + 60000)
return 1`;

export interface Permits {
  /** False: `limit` others hold one. One that is held is held until `end`, or until this process is gone for `hold_ms`. */
  take(resource: string, limit: number): Promise<boolean>;
  end(): Promise<void>;
}

/**
 * @param options.holder of all permits taken here; the same in every try of one job, so that none counts twice
 * @param options.onError a renewal that failed; the next one may succeed before the permit has run out
 */
export function createPermits(
  redis: Redis,
  options: { prefix: string; holder: string; hold_ms: number; onError: (error: unknown) => void },
): Permits {
  const held = new Map<string, number>();
  const keyOf = (resource: string): string => `${options.prefix}:permits:${resource}`;
  const take = async (resource: string, limit: number): Promise<boolean> => {
    const now = Date.now();
    const answer = await redis.eval(
      TAKE,
      1,
      keyOf(resource),
      now,
      now + options.hold_ms,
      options.holder,
      limit,
    );
    return answer === 1;
  };
  const renewing = setInterval(() => {
    for (const [resource, limit] of held) void take(resource, limit).catch(options.onError);
  }, options.hold_ms / 3);
  return {
    take: async (resource, limit) => {
      const granted = await take(resource, limit);
      if (granted) held.set(resource, limit);
      return granted;
    },
    end: async () => {
      clearInterval(renewing);
      for (const resource of held.keys()) await redis.zrem(keyOf(resource), options.holder);
      held.clear();
    },
  };
}

/** How many of the whole fleet may do something at a time: a set per resource in Redis, whose entries end by themselves. */
import type { Redis } from 'ioredis';

/** By the clock of Redis, in ms: the clocks of hosts differ, and one that is late would keep what others take for free. */
const NOW = `
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/**
 * Entries that have run out go; a holder renews its own; a new one is let in while there is room. All or none: who kept
 * one and waited for another could wait for somebody who does the reverse.
 *
 * KEYS: the index, then of each resource the set and what is known of its holders. ARGV: ms to hold, holder, about, then
 * of each resource its name and limit. Answers 0, or the position of the first resource that is full.
 */
const TAKE = `${NOW}
local till = now + tonumber(ARGV[1])
for at = 2, #KEYS, 2 do
  for _, gone in ipairs(redis.call('zrangebyscore', KEYS[at], '-inf', now)) do
    redis.call('zrem', KEYS[at], gone)
    redis.call('hdel', KEYS[at + 1], gone)
  end
  redis.call('hset', KEYS[1], ARGV[at + 2], ARGV[at + 3])
end
for at = 2, #KEYS, 2 do
  if not redis.call('zscore', KEYS[at], ARGV[2]) and redis.call('zcard', KEYS[at]) >= tonumber(ARGV[at + 3]) then
    return at / 2
  end
end
for at = 2, #KEYS, 2 do
  redis.call('zadd', KEYS[at], till, ARGV[2])
  redis.call('hset', KEYS[at + 1], ARGV[2], ARGV[3])
  redis.call('pexpireat', KEYS[at], till + 60000)
  redis.call('pexpireat', KEYS[at + 1], till + 60000)
end
return 0`;

/**
 * The last one takes the resource off the index with it: many are asked for once, as the turn of a dataset, and would stand
 * there for ever.
 *
 * KEYS: the index, the set, what is known of its holders. ARGV: holder, name.
 */
const GIVE_BACK = `
redis.call('zrem', KEYS[2], ARGV[1])
redis.call('hdel', KEYS[3], ARGV[1])
if redis.call('zcard', KEYS[2]) == 0 then redis.call('hdel', KEYS[1], ARGV[2]) end`;

/**
 * What died with its holder: nobody gives it back, and a resource that nobody asks for again (the turn of a dataset that has
 * landed) would stand on the index for ever.
 *
 * KEYS: the index.
 */
const SWEEP = `${NOW}
local swept = 0
for _, name in ipairs(redis.call('hkeys', KEYS[1])) do
  local held = KEYS[1] .. ':' .. name
  if redis.call('zcount', held, '(' .. now, '+inf') == 0 then
    redis.call('del', held, held .. ':holders')
    redis.call('hdel', KEYS[1], name)
    swept = swept + 1
  end
end
return swept`;

/** Takes resources off the index whose holders have all run out; answers how many. */
export async function sweepPermits(redis: Redis, prefix: string): Promise<number> {
  return Number(await redis.eval(SWEEP, 1, permitIndex(prefix)));
}

/** What people are told of a holder. */
export interface HolderFacts {
  workflow_id: string;
  step: string;
  worker: string;
  /** ISO 8601. */
  since: string;
}

export interface Permits {
  /** False: `limit` others hold one. One that is held is held until `end`, or until this process is gone for `hold_ms`. */
  take(resource: string, limit: number): Promise<boolean>;
  /** One of each, or none; answers the name of one that is full. */
  takeAll(wanted: ReadonlyMap<string, number>): Promise<string | null>;
  /** Gives all back; answers which. */
  end(): Promise<string[]>;
}

export interface PermitOptions {
  prefix: string;
  /** Of all permits taken here; the same in every try of one job, so that none counts twice. */
  holder: string;
  hold_ms: number;
  about?: HolderFacts;
  /** A renewal that failed; the next one may succeed before the permit has run out. */
  onError: (error: unknown) => void;
  /** It had run out (Redis was away for long, or this process stood still), and others hold all there are. */
  onLost: (resource: string, limit: number) => void;
}

/** A hash: every resource that somebody holds, and its limit when it was last asked for. */
export const permitIndex = (prefix: string): string => `${prefix}:permits`;
export const permitKey = (prefix: string, resource: string): string => `${prefix}:permits:${resource}`;
export const holdersKey = (prefix: string, resource: string): string =>
  `${permitKey(prefix, resource)}:holders`;

export function createPermits(redis: Redis, options: PermitOptions): Permits {
  const { prefix, holder, hold_ms, about = null } = options;
  const held = new Map<string, number>();
  const take = async (wanted: ReadonlyMap<string, number>): Promise<string | null> => {
    const names = [...wanted.keys()];
    const keys = names.flatMap((name) => [permitKey(prefix, name), holdersKey(prefix, name)]);
    const full = Number(
      await redis.eval(
        TAKE,
        keys.length + 1,
        permitIndex(prefix),
        ...keys,
        hold_ms,
        holder,
        JSON.stringify(about),
        ...[...wanted].flat(),
      ),
    );
    return full === 0 ? null : (names[full - 1] ?? null);
  };
  // From the first permit on: most attempts take none.
  let renewing: NodeJS.Timeout | null = null;
  let over = false;
  const giveBack = async (name: string): Promise<void> => {
    const keys = [permitIndex(prefix), permitKey(prefix, name), holdersKey(prefix, name)];
    await redis.eval(GIVE_BACK, keys.length, ...keys, holder, name);
  };
  const renew = async (name: string, limit: number): Promise<void> => {
    const full = await take(new Map([[name, limit]]));
    // Told once: it is not asked for again. What was merely late, and nobody else took, is held as before.
    if (full !== null && held.delete(name)) options.onLost(name, limit);
  };
  const renewAll = (): void => {
    for (const [name, limit] of held) renew(name, limit).catch(options.onError);
  };
  const takeAll = async (wanted: ReadonlyMap<string, number>): Promise<string | null> => {
    const full = await take(wanted);
    if (full !== null) return full;
    // Asked for while Redis was away, and granted after the asker had ended: nobody would ever give it back.
    if (over) {
      for (const name of wanted.keys()) await giveBack(name);
      return [...wanted.keys()][0] ?? null;
    }
    for (const [name, limit] of wanted) held.set(name, limit);
    renewing ??= setInterval(renewAll, hold_ms / 3);
    return null;
  };
  return {
    takeAll,
    take: async (resource, limit) => (await takeAll(new Map([[resource, limit]]))) === null,
    end: async () => {
      over = true;
      if (renewing !== null) clearInterval(renewing);
      renewing = null;
      const names = [...held.keys()];
      held.clear();
      for (const name of names) await giveBack(name);
      return names;
    },
  };
}

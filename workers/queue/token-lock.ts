/** A lock in Redis that ends by itself, and that only its holder can release: by then it may be somebody else's. */
import type { Redis } from 'ioredis';

/** @param token names the holder, and nobody else */
export async function takeLock(redis: Redis, key: string, token: string, lock_ms: number): Promise<boolean> {
  return (await redis.set(key, token, 'PX', lock_ms, 'NX')) !== null;
}

export const releaseLock = (redis: Redis, key: string, token: string): Promise<void> =>
  releaseLocks(redis, [key], token);

const TAKE_ALL = `for _, key in ipairs(KEYS) do
  local holder = redis.call('get', key)
  if holder then return {key, holder} end
end
for _, key in ipairs(KEYS) do redis.call('set', key, ARGV[1], 'PX', ARGV[2]) end
return false`;

const RENEW_ALL = `local ours = 1
for _, key in ipairs(KEYS) do
  if redis.call('get', key) == ARGV[1] then redis.call('pexpire', key, ARGV[2]) else ours = 0 end
end
return ours`;

const RELEASE_ALL = `for _, key in ipairs(KEYS) do
  if redis.call('get', key) == ARGV[1] then redis.call('del', key) end
end`;

/** Takes all of them or none. Null: they are ours; else the first that somebody has, and its token. */
export async function takeLocks(
  redis: Redis,
  keys: readonly string[],
  token: string,
  lock_ms: number,
): Promise<{ key: string; token: string } | null> {
  const held = (await redis.eval(TAKE_ALL, keys.length, ...keys, token, lock_ms)) as [string, string] | null;
  return held === null ? null : { key: held[0], token: held[1] };
}

/** False: one of them is somebody else's by now, or has ended. */
export async function renewLocks(
  redis: Redis,
  keys: readonly string[],
  token: string,
  lock_ms: number,
): Promise<boolean> {
  return (await redis.eval(RENEW_ALL, keys.length, ...keys, token, lock_ms)) === 1;
}

export async function releaseLocks(redis: Redis, keys: readonly string[], token: string): Promise<void> {
  await redis.eval(RELEASE_ALL, keys.length, ...keys, token);
}

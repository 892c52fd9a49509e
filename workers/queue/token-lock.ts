/** A lock in Redis that ends by itself, and that only its holder can release: by then it may be somebody else's. */
import type { Redis } from 'ioredis';

const RELEASE = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`;

/** @param token names the holder, and nobody else */
export async function takeLock(redis: Redis, key: string, token: string, lock_ms: number): Promise<boolean> {
  return (await redis.set(key, token, 'PX', lock_ms, 'NX')) !== null;
}

export async function releaseLock(redis: Redis, key: string, token: string): Promise<void> {
  await redis.eval(RELEASE, 1, key, token);
}

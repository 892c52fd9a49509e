import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import type { Place } from './place.ts';

/** A Redis of the place's own that may drop jobs, and keeps nothing on disk. */
export async function startEvictingRedis(place: Place): Promise<void> {
  const redis = await startEmbeddedRedis(place.path('redis'), { persist: false });
  onTestFinished(() => redis.stop());
  const client = new Redis(redis.url);
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
  client.disconnect();
}

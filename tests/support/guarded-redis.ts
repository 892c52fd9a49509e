/** A Redis that wants a password, which is `other`. */
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import type { Place } from './place.ts';

/** `admin` was there before and may do everything; `url` names no user. */
export async function startGuardedRedis(place: Place): Promise<{ url: string; admin: Redis }> {
  const server = await startEmbeddedRedis(place.path('redis'));
  onTestFinished(() => server.stop());
  const admin = new Redis(server.url);
  onTestFinished(() => admin.disconnect());
  await admin.config('SET', 'requirepass', 'other');
  return { url: server.shown_url, admin };
}

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { embeddedRedisUrl } from '../../workers/queue/embedded.ts';
import type { Ground } from './ground.ts';

/** Permits of the dead run out after a lock time, and are swept with the reconciliation. */
const PATIENCE_MS = 90_000;

/** What may stand in Redis when nothing runs: counters, what the fleet says of itself, its history. */
const LASTING =
  /:(meta|id|marker|events|workers(:.*)?|scale(:.*)?|stalled-check|reconcile|holders:.*|shares?(:.*)?|host:.*|schedules?(:.*)?)$/;

/** Jobs, locks, permits, leases: none is left. Waits a little, as the last job leaves after its record is made. */
export async function judgeQueue(ground: Ground): Promise<string[]> {
  const url = embeddedRedisUrl(join(ground.config.state_dir, 'redis')) ?? '';
  const redis = new Redis(url, { maxRetriesPerRequest: null });
  redis.on('error', () => undefined); // Its last restart may not be over.
  try {
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(200)) {
      const keys = await redis.keys(`${ground.config.queue.prefix}:*`);
      const left = keys.filter((key) => !LASTING.test(key));
      if (left.length === 0) return [];
      if (Date.now() > deadline) return left.slice(0, 20).map((key) => `left in Redis: ${key}`);
    }
  } finally {
    redis.disconnect();
  }
}

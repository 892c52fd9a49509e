/** Reading a whole copy is a transfer like any other: an archive that bears only so many bears no proof besides. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Archive } from '../../workers/archive/contract.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { createPermits, type Permits } from '../../workers/queue/permits.ts';
import type { Session } from '../cli/session.ts';
import { counted } from '../cli/format.ts';

const AGAIN_MS = 5_000;

/**
 * Waits for one of the fleet's transfers, and holds it while `body` runs. No Redis is needed where there is no limit.
 *
 * @throws E_REDIS_UNAVAILABLE, since nobody can say then how many are at work
 */
export async function withTransfer<T>(
  { config, log }: Session,
  { name, capabilities: { max_transfers } }: Pick<Archive, 'name' | 'capabilities'>,
  signal: AbortSignal | undefined,
  body: () => Promise<T>,
): Promise<T> {
  if (max_transfers === null) return body();
  const redis = await connectRedis(config, { log, wait_seconds: 5, name: 'longshore-fixity' });
  const permits = createPermits(redis, {
    prefix: config.queue.prefix,
    holder: `fixity:${hostname()}:${process.pid}:${randomUUID()}`,
    hold_ms: config.queue.lock_seconds * 1000,
    onError: (error) => log.warn({ err: error, archive: name }, 'a transfer could not be renewed'),
    onLost: () => log.warn({ archive: name }, 'this transfer goes on beside as many as the archive bears'),
  });
  try {
    await taken(permits, { resource: `archive:${name}`, limit: max_transfers, signal }, () =>
      process.stderr.write(
        `the archive ${name} bears ${counted(max_transfers, 'transfer')} at a time; waiting for one to end\n`,
      ),
    );
    return await body();
  } finally {
    await permits
      .end()
      .catch((error: unknown) => log.warn({ err: error }, 'a transfer could not be given back'));
    redis.disconnect();
  }
}

async function taken(
  permits: Permits,
  { resource, limit, signal }: { resource: string; limit: number; signal: AbortSignal | undefined },
  onWait: () => void,
): Promise<void> {
  for (let tries = 0; !(await permits.take(resource, limit)); tries += 1) {
    if (tries === 0) onWait();
    await sleep(AGAIN_MS, undefined, signal === undefined ? {} : { signal });
  }
}

import type { Redis } from 'ioredis';
import type { Logger } from '../../log.ts';
import type { Processor } from '../job/processor.ts';

/**
 * Renews the locks of all jobs that run here as soon as Redis is back. BullMQ would do so at half of lock_seconds, and
 * until then others could not tell this worker from one that died: they wait for this (queue/recovery.ts), so that an
 * outage costs neither a living worker its jobs, nor the jobs of a dead one more than a few seconds.
 */
export function keepLocks(redis: Redis, processor: Processor, log: Logger): { stop(): void } {
  const renew = (): void => {
    const job_ids = [...processor.running.values()].map(({ lock }) => lock.job_id);
    processor.lockLost(job_ids).catch((error: unknown) => {
      log.warn(
        { err: error, job_ids },
        'locks could not be renewed after an outage; they are at their next turn',
      );
    });
  };
  redis.on('ready', renew);
  return { stop: () => void redis.off('ready', renew) };
}

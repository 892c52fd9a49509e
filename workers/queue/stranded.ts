/** Jobs that were put off by the clock of a host that was ahead, as it may be after a boot, and is right by now. */
import type { Redis } from 'ioredis';
import type { JobQueue } from './queues.ts';

/** More than the clocks of hosts differ that somebody looks after. */
const AHEAD_MS = 600_000;
/** Those that are due last; what has been put off into another year is among them. */
const LOOKED_AT = 100;

/**
 * They would wait until the time that the clock had named, for hours or years. When a job was taken is written by the same
 * clock, so one that was taken in the future, by the clock of Redis, is due now; it is put off again by the clock that is right.
 *
 * @returns ids of the jobs
 */
export async function hurryStranded(redis: Redis, queue: JobQueue): Promise<string[]> {
  const [seconds] = await redis.time();
  const limit = Number(seconds) * 1000 + AHEAD_MS;
  const hurried: string[] = [];
  for (const job of await queue.getJobs(['delayed'], 0, LOOKED_AT - 1)) {
    if ((job.processedOn ?? 0) <= limit) continue;
    const promoted = await job.promote().then(
      () => true,
      () => false, // It is due, or gone, by now.
    );
    if (promoted) hurried.push(job.id ?? '');
  }
  return hurried;
}

import type { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { troubleTeller } from '../trouble.ts';
import type { JobData } from './jobs.ts';
import type { QueueSide } from './side.ts';

/** Gives the jobs of lost workers back to the queue. */
export interface Recovery {
  stop(): void;
}

/**
 * A connection tries again at least every 2 s (connection.ts), and a worker that is connected again renews its locks at
 * once (fleet/health/lock-keeping.ts). Not the whole of lock_seconds: a Redis that is restarted more often than that would never
 * be given the time, and the jobs of every worker that died meanwhile would wait for its end.
 */
const RECONNECTED_MS = 5_000;
const LOOK_EVERY_MS = 1_000;

/**
 * BullMQ's own check for lost workers looks at once when Redis comes back from an outage, finds that every lock has
 * run out meanwhile, and takes all running jobs from workers that are alive and well. So it is switched off
 * (`skipStalledCheck`), and the same script runs from here, but not before every living worker had the time to
 * renew its locks: not within RECONNECTED_MS (or lock_seconds, if that is shorter) of a start of Redis, nor within
 * lock_seconds after this process was cut off itself from a Redis that went on, or waited long for an answer.
 *
 * All this by a clock that nobody sets: a host whose time is put right after its boot would look at nothing for hours.
 *
 * The script keeps the pace of stalled_check_seconds for the whole fleet, by a key of its own. So it is asked for every
 * second: a turn that fell into an outage, or with a worker that died before it, is made up for at once.
 */
export function startRecovery(
  config: Config,
  worker: Worker<JobData>,
  { redis, refusals }: Pick<QueueSide, 'redis' | 'refusals'>,
  log: Logger,
): Recovery {
  const lock_ms = config.queue.lock_seconds * 1000;
  const settled_ms = Math.min(lock_ms, RECONNECTED_MS);
  let connected_at = Number.NEGATIVE_INFINITY;
  const reconnected = (): void => {
    connected_at = performance.now();
  };
  redis.on('ready', reconnected);

  const check = async (): Promise<void> => {
    const asked_at = performance.now();
    if (redis.status !== 'ready' || asked_at - connected_at < settled_ms) return;
    const uptime_ms = await uptimeMs(redis);
    // A Redis that hung with its connections open: what stands in its sockets are our renewals, which came too late.
    if (performance.now() - asked_at > lock_ms / 2) connected_at = performance.now();
    // Young: it was Redis that was away, and everybody noticed at once. Else it was a network, whose other ends may take as
    // long as queue.silence_seconds to notice.
    const patience_ms = uptime_ms < lock_ms ? settled_ms : lock_ms;
    if (uptime_ms < settled_ms || performance.now() - connected_at < patience_ms) return;
    for (const job_id of await worker.getBackend().moveStalledJobsToWait())
      log.warn({ job_id }, 'a lost worker held this job; it runs again');
  };
  const trouble = troubleTeller(log, {
    what: 'lost workers could not be looked for',
    end: 'lost workers are looked for again',
    level: 'warn',
    except: refusals.met,
  });
  let checking = false;
  const timer = setInterval(
    () => {
      if (checking) return; // While Redis is away one look waits for it, not one for each second.
      checking = true;
      check()
        .then(() => trouble.over())
        .catch((error: unknown) => trouble.met(error))
        .finally(() => {
          checking = false;
        });
    },
    Math.min(LOOK_EVERY_MS, config.queue.stalled_check_seconds * 1000),
  );
  return {
    stop: () => {
      clearInterval(timer);
      redis.off('ready', reconnected);
    },
  };
}

/** Whole seconds, so up to one second too little: the careful side. */
async function uptimeMs(redis: Redis): Promise<number> {
  const seconds = /uptime_in_seconds:(\d+)/.exec(await redis.info('server'))?.[1];
  return seconds === undefined ? Number.POSITIVE_INFINITY : Number(seconds) * 1000;
}

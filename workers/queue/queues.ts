import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { isSocketFailure } from '../socket-failure.ts';
import { noSentinelHelps } from './address.ts';
import type { JobData } from './jobs.ts';
import type { Refusals } from './refusals.ts';

export type JobQueue = Queue<JobData>;

/** Queues by name, opened at first use over one shared connection. */
export interface Queues {
  get(name: string): JobQueue;
  close(): Promise<void>;
}

export function openQueues(config: Config, connection: Redis, log: Logger, refusals: Refusals): Queues {
  const opened = new Map<string, JobQueue>();
  const options = { connection, prefix: config.queue.prefix };
  return {
    get: (name) => {
      const known = opened.get(name);
      if (known !== undefined) return known;
      const queue: JobQueue = new Queue<JobData>(name, options);
      reportErrors(queue, log, refusals);
      opened.set(name, queue);
      return queue;
    },
    close: async () => {
      await Promise.all([...opened.values()].map((queue) => queue.close()));
    },
  };
}

const LOCKS = /^could not renew lock/;
/**
 * Of a job that ended: Redis has lost it, or its lock, in a failover or a restart, or has given it to another worker. What
 * became of its step stands in the records, and is put back into the queue from there: nobody has to look.
 */
const FORGOTTEN = /^(Missing (lock|key)|Lock mismatch) for job /;
/** A socket file that is gone, or a name that nobody knows now. */
const NO_SERVER: ReadonlySet<string> = new Set(['ENOENT', 'ENOTFOUND']);

/**
 * BullMQ repeats every connection error of its client on each object; the connection itself reports those once. What Redis
 * refuses comes with every try.
 */
export function reportErrors(
  source: { on(event: 'error', listener: (error: Error) => void): unknown },
  log: Logger,
  refusals?: Pick<Refusals, 'met'>,
): void {
  source.on('error', (error) => {
    // Which locks could not be renewed comes as an event of its own, and is answered (fleet/slots.ts).
    if (isConnectionError(error) || refusals?.met(error) || LOCKS.test(error.message)) return;
    if (FORGOTTEN.test(error.message))
      log.warn({ reason: error.message }, 'Redis does not know how a job ended; the records do');
    else log.error({ err: error }, 'the queue reported an error');
  });
}

export function isConnectionError(error: Error): boolean {
  return (
    isSocketFailure(error) ||
    noSentinelHelps(error) ||
    NO_SERVER.has((error as NodeJS.ErrnoException).code ?? '') ||
    /Connection is closed|Stream isn't writeable|Socket timeout|LOADING/.test(error.message)
  );
}

import { type Job, Worker } from 'bullmq';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { JobData } from '../queue/flows.ts';
import { reportErrors } from '../queue/queues.ts';
import { startRecovery } from '../queue/recovery.ts';
import type { QueueSide } from '../queue/side.ts';
import { decideSlots } from './autoscaler.ts';
import type { Processor } from './processor.ts';

const LOOK_EVERY_MS = 1_000;

/** The jobs of one queue that this worker takes, and how many at a time. */
export interface Slots {
  readonly count: number;
  /** No new jobs from now on; those that run go on. */
  stopTaking(): Promise<void>;
  /** After the last job has ended. */
  close(): Promise<void>;
}

export interface SlotsParts {
  config: Config;
  side: QueueSide;
  processor: Processor;
  log: Logger;
  name: string;
  queue: string;
}

export function openSlots(parts: SlotsParts): Slots {
  const { config, side, processor, log } = parts;
  const worker = openWorker(parts);
  const recovery = startRecovery(config, worker, side.redis, log);
  let idle_since = Date.now();
  let closing = false;

  const scale = async (): Promise<void> => {
    const busy = processor.running.size;
    if (busy >= worker.concurrency) idle_since = Date.now();
    const backlog = await backlogOf(side, parts.queue);
    const idle_seconds = (Date.now() - idle_since) / 1000;
    const decision = decideSlots(
      { slots: worker.concurrency, busy, backlog, idle_seconds },
      config.autoscale,
    );
    if (decision === null || closing) return;
    log.info({ from: worker.concurrency, to: decision.slots, reason: decision.reason }, 'slots changed');
    const grew = decision.slots > worker.concurrency;
    worker.concurrency = decision.slots;
    idle_since = Date.now();
    // BullMQ sleeps until one of its jobs ends before it looks at its concurrency again, which for a tape archive
    // may be tomorrow. Pausing without waiting and resuming is its public way of waking that loop.
    if (grew && !closing) {
      await worker.pause(true);
      if (!closing) await worker.resume();
    }
  };
  let looking: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    looking = looking.then(scale).catch((error: unknown) => {
      log.warn({ err: error }, 'the backlog could not be read');
    });
  }, LOOK_EVERY_MS);

  return {
    get count() {
      return worker.concurrency;
    },
    stopTaking: async () => {
      closing = true;
      clearInterval(timer);
      recovery.stop();
      processor.refuse();
      const paused = worker.pause(true);
      await looking;
      await paused;
    },
    close: () => worker.close(),
  };
}

async function backlogOf(side: QueueSide, queue: string): Promise<number> {
  const { waiting = 0, prioritized = 0 } = await side.queues
    .get(queue)
    .getJobCounts('waiting', 'prioritized');
  return waiting + prioritized;
}

/**
 * Why BullMQ is set up as it is:
 *
 * - `maxStalledCount`: it would fail a job whose workers died more than once. Our records count losses per run and
 *   decide, so here the number only has to be out of reach (its counter is never reset during a job's life).
 * - `lockDuration`, `stalledInterval`: a lost worker's job is given on after at most lock_seconds + 2 ×
 *   stalled_check_seconds: a job is marked at one check and taken at the next if its lock is gone by then.
 * - `skipStalledCheck`: the check is made in queue/recovery.ts, which knows when it would be wrong.
 * - locks are renewed by this process at every half of lock_seconds; tasks run in processes of their own, so no
 *   task can hold that up.
 * - `drainDelay` 2 s: the longest time that an idle worker does not see a closing connection.
 */
function openWorker({ config, side, processor, log, name, queue }: SlotsParts): Worker<JobData> {
  const worker = new Worker<JobData>(
    queue,
    (job: Job<JobData>, token = '') => processor.process(job, token),
    {
      connection: side.redis,
      prefix: config.queue.prefix,
      name,
      concurrency: config.autoscale.min,
      lockDuration: config.queue.lock_seconds * 1000,
      stalledInterval: config.queue.stalled_check_seconds * 1000,
      skipStalledCheck: true,
      maxStalledCount: 1_000_000_000,
      drainDelay: 2,
      runRetryDelay: 1_000,
    },
  );
  reportErrors(worker, log);
  worker.on('lockRenewalFailed', (job_ids) => {
    processor.lockLost(job_ids).catch((error: unknown) => {
      log.error(
        { err: error, job_ids },
        'lost locks could not be looked at; the tasks ask before they publish',
      );
    });
  });
  worker.on('failed', (job) => {
    if (job === undefined) return;
    processor.ended(job).catch((error: unknown) => {
      log.error({ err: error, ...job.data }, 'an ended job was left for the next reconciliation');
    });
  });
  return worker;
}

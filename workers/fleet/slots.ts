import { type Job, Worker } from 'bullmq';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { JobData } from '../queue/flows.ts';
import { reportErrors } from '../queue/queues.ts';
import { startRecovery } from '../queue/recovery.ts';
import type { QueueSide } from '../queue/side.ts';
import { rememberScale } from '../queue/scale-history.ts';
import { look, NO_MEMORY } from './autoscaler.ts';
import { type Pressure, readPressure } from './pressure.ts';
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
  /** Of this host; tests tell their own. */
  pressure?: () => Pressure;
}

/** Jobs in hand, from the moment they are given to the moment they are done with. */
interface Hands {
  now: number;
  /** The most at a time since the last look: between two short jobs a slot is free for a moment, and not idle. */
  peak: number;
}

export function openSlots(parts: SlotsParts): Slots {
  const { config, side, processor, log, name, pressure = readPressure } = parts;
  const hands: Hands = { now: 0, peak: 0 };
  const worker = openWorker(parts, hands);
  const recovery = startRecovery(config, worker, side.redis, log);
  let memory = NO_MEMORY;
  let closing = false;

  const scale = async (): Promise<void> => {
    const backlog = await backlogOf(side, parts.queue);
    const facts = {
      now: Date.now(),
      slots: worker.concurrency,
      busy: hands.peak,
      backlog,
      pressure: pressure(),
    };
    hands.peak = hands.now;
    const seen = look(memory, facts, config.autoscale);
    if (closing) return;
    memory = seen.memory;
    if (seen.decision === null) return;
    const { action, from, to, reason } = seen.decision;
    log.info({ action, from, to, reason }, action === 'hold' ? 'slots held back' : 'slots changed');
    worker.concurrency = to;
    // BullMQ sleeps until one of its jobs ends before it looks at its concurrency again, which for a tape archive
    // may be tomorrow. Pausing without waiting and resuming is its public way of waking that loop.
    if (to > from) {
      await worker.pause(true);
      if (!closing) await worker.resume();
    }
    const at = new Date(facts.now).toISOString();
    await rememberScale(side.redis, config, { ...seen.decision, at, who: name, of: 'slots' });
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
function openWorker(
  { config, side, processor, log, name, queue }: SlotsParts,
  hands: Hands,
): Worker<JobData> {
  const worker = new Worker<JobData>(
    queue,
    async (job: Job<JobData>, token = '') => {
      side.shares.served(queue, job.priority);
      hands.now += 1;
      hands.peak = Math.max(hands.peak, hands.now);
      try {
        return await processor.process(job, token);
      } finally {
        hands.now -= 1;
      }
    },
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

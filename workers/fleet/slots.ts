import type { Job } from 'bullmq';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { JobData } from '../queue/jobs.ts';
import { reportErrors } from '../queue/queues.ts';
import { startRecovery } from '../queue/recovery.ts';
import type { QueueSide } from '../queue/side.ts';
import { rememberScale, type ScaleEntry } from '../queue/scale-history.ts';
import { troubleTeller } from '../trouble.ts';
import { AskingWorker } from './asking-worker.ts';
import {
  exceeded,
  look,
  NO_MEMORY,
  overMin,
  type ScaleDecision,
  type ScaleLimits,
} from './scaling/autoscaler.ts';
import { type Pressure, readPressure } from './scaling/pressure.ts';
import type { Processor } from './job/processor.ts';

const LOOK_EVERY_MS = 1_000;
/** Eight tasks that grow at once fill a container's limit faster than in a second. A look takes 0.3 ms. */
const LOOK_AT_MEMORY_EVERY_MS = 250;

/** The jobs of one queue that this worker takes, and how many at a time. */
export interface Slots {
  readonly queue: string;
  /** With it begins the token of every lock that is held from here. */
  readonly holder: string;
  readonly count: number;
  readonly limits: ScaleLimits;
  /** Jobs of this queue that run here. */
  readonly busy: number;
  /** Takes no jobs, because it was told to. */
  readonly held: boolean;
  /** By performance.now(): when the queue last answered, and when it last gave a job. */
  readonly asked_at: number;
  readonly consumed_at: number | null;
  /** Until then it takes nothing: whoever takes jobs must be within reach of an order to stop them. */
  begin(): void;
  /** Moves the maximum by so many; upward, the slots are there at once. Until the worker ends. */
  move(by: number, reason: string): void;
  /** No new jobs until `release`; those that run go on. */
  hold(): Promise<void>;
  release(): void;
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
  /** Default: config.autoscale. */
  min?: number;
  max?: number;
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
  const recovery = startRecovery(config, worker, side, log);
  let limits: ScaleLimits = limitsOf(parts);
  let memory = NO_MEMORY;
  let closing = false;
  let held = false;
  let consumed_at: number | null = null;
  worker.on('active', () => {
    consumed_at = performance.now();
  });

  const remember = (decided: Pick<ScaleEntry, 'action' | 'from' | 'to' | 'reason'>): Promise<void> =>
    rememberScale(side.redis, config, {
      ...decided,
      at: new Date().toISOString(),
      who: name,
      of: 'slots',
    });
  const scale = async (): Promise<void> => {
    if (held) return;
    const backlog = await backlogOf(side, parts.queue);
    const facts = {
      now: performance.now(),
      slots: worker.concurrency,
      busy: hands.peak,
      backlog,
      pressure: pressure(),
    };
    hands.peak = hands.now;
    const seen = look(memory, facts, limits);
    if (closing) return;
    memory = seen.memory;
    if (seen.decision !== null) await resize(seen.decision);
  };
  const resize = async (decision: ScaleDecision): Promise<void> => {
    const { action, from, to, reason } = decision;
    log.info({ action, from, to, reason }, action === 'hold' ? 'slots held back' : 'slots changed');
    worker.concurrency = to;
    // BullMQ sleeps until one of its jobs ends before it looks at its concurrency again, which for a tape archive
    // may be tomorrow. Pausing without waiting and resuming is its public way of waking that loop.
    if (to > from && !closing && !held) {
      await worker.pause(true);
      if (!closing && !held) await worker.resume();
    }
    await remember(decision);
  };
  const unread = troubleTeller(log, {
    what: 'the backlog could not be read',
    end: 'the backlog is read again',
    level: 'warn',
    except: side.refusals.met,
  });
  let looking: Promise<void> | null = null;
  const lookNow = (): void => {
    // While Redis is away one look waits for it, not one for each second.
    looking ??= scale()
      .then(() => unread.over())
      .catch((error: unknown) => unread.met(error))
      .finally(() => (looking = null));
  };
  const handBack = async (reason: string): Promise<void> => {
    const from = hands.now;
    log.warn({ queue: parts.queue, jobs: from, reason }, 'the youngest job is handed back');
    const about = await processor.handBack(parts.queue, reason);
    if (about === null) return;
    const told = `${reason}; ${about.step} of dataset ${about.dataset_id} was handed back`;
    await remember({ action: 'hand back', from, to: from - 1, reason: told });
  };
  // What one takes with it is seen before the next one goes.
  let handing: Promise<void> | null = null;
  const lookAtMemory = (): void => {
    const seen = pressure();
    if (worker.concurrency > limits.min && exceeded(seen, limits.shrink) !== null) lookNow();
    const reason = overMin({ busy: hands.now, pressure: seen }, limits);
    if (reason === null) return;
    handing ??= handBack(reason)
      .catch((error: unknown) => {
        if (!side.refusals.met(error)) log.warn({ err: error }, 'a job could not be handed back');
      })
      .finally(() => (handing = null));
  };
  const timers = [setInterval(lookNow, LOOK_EVERY_MS), setInterval(lookAtMemory, LOOK_AT_MEMORY_EVERY_MS)];

  return {
    queue: parts.queue,
    holder: worker.id,
    get count() {
      return worker.concurrency;
    },
    get limits() {
      return limits;
    },
    get busy() {
      return hands.now;
    },
    get held() {
      return held;
    },
    get asked_at() {
      return worker.asked_at;
    },
    get consumed_at() {
      return consumed_at;
    },
    begin: () => {
      if (held || closing || worker.isRunning()) return;
      worker
        .run()
        .catch((error: unknown) => log.error({ err: error, queue: parts.queue }, 'no jobs are taken'));
    },
    move: (by, reason) => {
      const max = Math.max(1, limits.max + by);
      limits = { ...limits, max, min: Math.min(limits.min, max) };
      const from = worker.concurrency;
      const to = by > 0 ? Math.min(max, from + by) : Math.min(max, from);
      if (to === from) return;
      memory = { ...memory, changed_at: performance.now() };
      resize({ action: to > from ? 'grow' : 'shrink', from, to, reason }).catch((error: unknown) => {
        if (!side.refusals.met(error)) log.warn({ err: error }, 'a change of slots could not be remembered');
      });
    },
    hold: async () => {
      held = true;
      await worker.pause(true);
    },
    release: () => {
      held = false;
      void worker.resume();
    },
    stopTaking: async () => {
      closing = true;
      for (const timer of timers) clearInterval(timer);
      recovery.stop();
      processor.refuse(true);
      const paused = worker.pause(true);
      await Promise.all([looking, handing, paused]);
    },
    close: () => worker.close(),
  };
}

const limitsOf = ({ config: { autoscale }, min, max }: SlotsParts): ScaleLimits => ({
  ...autoscale,
  ...(min === undefined ? {} : { min }),
  ...(max === undefined ? {} : { max }),
});

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
function openWorker(parts: SlotsParts, hands: Hands): AskingWorker {
  const { config, side, processor, log, name, queue } = parts;
  const take = async (job: Job<JobData>, token = ''): Promise<unknown> => {
    side.shares.served(queue, job.priority);
    hands.now += 1;
    hands.peak = Math.max(hands.peak, hands.now);
    try {
      return await processor.process(job, token);
    } finally {
      hands.now -= 1;
    }
  };
  const worker = new AskingWorker(queue, take, {
    connection: side.redis,
    prefix: config.queue.prefix,
    name,
    concurrency: limitsOf(parts).min,
    lockDuration: config.queue.lock_seconds * 1000,
    stalledInterval: config.queue.stalled_check_seconds * 1000,
    skipStalledCheck: true,
    maxStalledCount: 1_000_000_000,
    drainDelay: 2,
    autorun: false,
    runRetryDelay: 1_000,
  });
  reportErrors(worker, log, side.refusals);
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

import { loadavg } from 'node:os';
import type { Logger } from '../../log.ts';
import type { Control } from '../../queue/control.ts';
import type { Refusals } from '../../queue/refusals.ts';
import type { QueueSlots, Registry, RestartDue, RunningJob, WorkerEntry } from '../../queue/registry.ts';
import { type Trouble, troubleTeller } from '../../trouble.ts';
import type { Records } from '../../records/contract.ts';
import type { RunningTask } from '../job/attempt.ts';
import { repeat } from '../repeat.ts';
import type { Slots } from '../slots.ts';

/** What does not change while a worker lives. */
export type Identity = Pick<WorkerEntry, 'name' | 'host' | 'pid' | 'started_at' | 'release' | 'seat'>;

export interface Heartbeat {
  /** As the next one will say it. */
  entry(): Promise<WorkerEntry>;
  /** Says it now: whoever gave an order looks at once. Failing that, the next one says it. */
  beat(): Promise<void>;
  /** The worker is not listed any more. */
  stop(): Promise<void>;
}

export interface HeartbeatParts {
  seconds: number;
  identity: Identity;
  state: () => WorkerEntry['state'];
  suspended: () => WorkerEntry['suspended'];
  restartDue: () => RestartDue | null;
  slots: readonly Slots[];
  running: ReadonlyMap<string, RunningTask>;
  records: Pick<Records, 'listWorkflows'>;
  registry: Registry;
  control: Control;
  refusals: Refusals;
  log: Logger;
}

/** Redis answers within milliseconds, or it was away. */
const LATE_MS = 1_000;

export function startHeartbeat(parts: HeartbeatParts): Heartbeat {
  const { seconds, registry, control, refusals, log } = parts;
  const entry = (): Promise<WorkerEntry> => entryOf(parts, unread);
  const beat = async (): Promise<void> => {
    const begun = performance.now();
    await registry.write(await entry());
    // It waited for Redis, and says how the worker was before: that would stand there as new until the next one.
    if (performance.now() - begun > LATE_MS) await registry.write(await entry());
  };
  const trouble = troubleTeller(log, {
    what: 'this worker could not say how it is',
    end: 'this worker says how it is again',
    level: 'warn',
    except: refusals.met,
  });
  const unread = troubleTeller(log, {
    what: 'the progress of running tasks could not be read',
    end: 'the progress of running tasks is read again',
    level: 'warn',
  });
  // One at a time: while Redis is away this waits for it, and no heap of old heartbeats is sent when it is back.
  const beating = repeat(seconds, async () => void (await Promise.all([beat(), control.prove()])), trouble);
  return {
    entry,
    beat: () => beat().catch((error: unknown) => trouble.met(error)),
    stop: async () => {
      void beating.stop(); // Not waited for: Redis may be away.
      if (!refusals.refusing) await registry.remove(parts.identity.name);
    },
  };
}

async function entryOf(
  { identity, state, suspended, restartDue, slots, running, records }: HeartbeatParts,
  unread: Trouble,
): Promise<WorkerEntry> {
  const jobs = [...running.values()].map(jobOf);
  return {
    ...identity,
    state: state(),
    suspended: suspended(),
    restart_due: restartDue(),
    queues: slots.map(slotsOf),
    running: await withProgress(jobs, records, unread),
    load: loadavg().map((figure) => Math.round(figure * 100) / 100),
    rss: process.memoryUsage.rss(),
  };
}

const slotsOf = (one: Slots): QueueSlots => ({
  queue: one.queue,
  slots: one.count,
  min: one.limits.min,
  max: one.limits.max,
  busy: one.busy,
  asked_at: dateOf(one.asked_at),
  consumed_at: one.consumed_at === null ? null : dateOf(one.consumed_at),
});

/** Of a time by the clock that no one sets. */
const dateOf = (at: number): string => new Date(performance.timeOrigin + at).toISOString();

const jobOf = ({ key, lock, about }: RunningTask): RunningJob => ({
  task_id: key.task_id,
  attempt: key.number,
  ...about,
  queue: lock.queue.name,
  progress: null,
});

/** Tasks report to the records, so that is where their worker reads it: one query for all of them. */
async function withProgress(
  jobs: RunningJob[],
  records: HeartbeatParts['records'],
  unread: Trouble,
): Promise<RunningJob[]> {
  if (jobs.length === 0) return jobs;
  const workflow_ids = [...new Set(jobs.map((job) => job.workflow_id))];
  try {
    const { results } = await records.listWorkflows({ workflow_ids, limit: workflow_ids.length });
    unread.over();
    const known = new Map(results.map((one) => [one.workflow.id, one.last_runs]));
    return jobs.map((job) => {
      const run = known.get(job.workflow_id)?.[job.index];
      const result = run?._id === job.task_id && run.status === 'STARTED' ? run.result : null;
      return { ...job, progress: isProgress(result) ? result : null };
    });
  } catch (error) {
    unread.met(error);
    return jobs;
  }
}

/** A run that has not reported yet holds where it runs: `{pid, hostname}`. */
const isProgress = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !('pid' in value);

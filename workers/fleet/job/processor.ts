import { type Job, UnrecoverableError } from 'bullmq';
import { LongshoreError } from '../../errors.ts';
import type { CancelOrder } from '../../queue/control.ts';
import type { JobData } from '../../queue/jobs.ts';
import { holdLock } from '../../queue/job-lock.ts';
import type { ClaimVerdict, Finish } from '../../records/contract.ts';
import { troubleTeller } from '../../trouble.ts';
import { enqueue, settle } from '../../workflows/reconcile.ts';
import { followersOf } from '../../workflows/followers.ts';
import {
  type AboutRunning,
  type JobTroubles,
  type Room,
  type RunningTask,
  runAttempt,
  type WorkerParts,
} from './attempt.ts';
import { crashPoint } from './crash-points.ts';
import { conclude, handOverAgain } from './conclude.ts';
import { takeNeeds } from './needs.ts';
import { giveBack, LOOK_AGAIN_MS, putOff } from './put-back.ts';
import { tellSetAside } from './set-aside.ts';
import { aboutAttempt, tellEnd } from './step-log.ts';
import { createTaskProcesses, type TaskProcesses, type WaitingProcess } from '../isolation/task-processes.ts';

/** Who gives a resource back wakes the next; this is for those whose holder died. */
const ASK_AGAIN_MS = 30_000;
/** What it holds is needed by others now; its last checkpoint is there in any case. */
const HAND_BACK_GRACE_SECONDS = 1;

/** What a worker does with the jobs it is given. */
export interface Processor {
  /** For BullMQ. Resolves when the step has succeeded; everything else is told by the errors it knows. */
  process(job: Job<JobData>, token: string): Promise<unknown>;
  /** While refusing, a job that still arrives (BullMQ's blocking read may bring one after a pause) is given back. */
  refuse(refusing: boolean): void;
  /** After a job has gone to the failed set. */
  ended(job: Job<JobData>): Promise<void>;
  /** False when the attempt is not run here; else resolves when its process group is gone. */
  cancel(order: CancelOrder): Promise<boolean>;
  /**
   * Stops the attempt of this queue that began last; its job is for whoever has room for it, and no retry is used. Resolves
   * when its process group is gone; null when none runs.
   */
  handBack(queue: string, reason: string): Promise<AboutRunning | null>;
  /** Their locks may have run out: taken again if nobody else did, else their tasks are stopped. */
  lockLost(job_ids: readonly string[]): Promise<void>;
  /** Stops all, also what has yet to begin; resolves when no process is left of those that run. */
  stopAll(error: LongshoreError, grace_seconds: number): Promise<void>;
  readonly running: ReadonlyMap<string, RunningTask>;
  /** All that it was given and has not given back: those that run, begin, or wait to be recorded or handed over. */
  readonly inHand: ReadonlySet<Job<JobData>>;
}

/** @param processes other ones than those of the fleet, for a measurement of the rest */
export function createProcessor(
  given_parts: Omit<WorkerParts, 'troubles'>,
  processes: TaskProcesses = createTaskProcesses(given_parts.config, given_parts.name, given_parts.log),
): Processor {
  const parts: WorkerParts = { ...given_parts, troubles: jobTroubles(given_parts.log) };
  const running = new Map<string, RunningTask>();
  const given = new Set<Job<JobData>>();
  const beginning = new Set<Promise<void>>();
  let refusing = false;
  let stopping: { error: LongshoreError; grace_seconds: number } | null = null;
  const stopRunning = async ({ error, grace_seconds }: NonNullable<typeof stopping>): Promise<void> => {
    await Promise.all([...running.values()].map(({ child }) => child.stop(error, grace_seconds)));
  };
  return {
    running,
    inHand: given,
    refuse: (on) => {
      refusing = on;
    },
    process: async (job, token) => {
      if (refusing) return giveBack(parts, job, token);
      const begun = Promise.withResolvers<void>();
      beginning.add(begun.promise);
      given.add(job);
      const onRunning = (): void => {
        begun.resolve();
        beginning.delete(begun.promise);
        // It was given before the end, and its process is there only now.
        if (stopping !== null) void stopRunning(stopping);
      };
      try {
        return await takeInTurn(parts, job, token, { running, processes, onRunning });
      } finally {
        onRunning();
        given.delete(job);
      }
    },
    ended: async (job) => {
      const { workflow_id } = job.data;
      const known = await parts.store.records.workflowWithRuns(workflow_id);
      if (known === null) await parts.side.chains.removeUnrecorded(job);
      else await settle(workflow_id, known, parts.store.records, parts.side.chains);
    },
    cancel: async ({ task_id, number, worker, reason, grace_seconds }) => {
      if (worker !== parts.name) return false;
      // Between its claim and its process an attempt is in neither place; it will be in `running` or over soon.
      await Promise.all(beginning);
      const task = running.get(task_id);
      if (task === undefined || task.key.number !== number) return true;
      await task.child.stop(
        new LongshoreError('E_REVOKED', `the task was ${reason}`),
        grace_seconds ?? parts.config.task.kill_grace_seconds,
      );
      return true;
    },
    handBack: async (queue, reason) => {
      // In the order in which they began.
      const youngest = [...running.values()].findLast(({ lock }) => lock.queue.name === queue);
      if (youngest === undefined) return null;
      const error = new LongshoreError('E_WORKER_STOPPED', `handed back by its worker: ${reason}`);
      await youngest.child.stop(error, HAND_BACK_GRACE_SECONDS);
      return youngest.about;
    },
    lockLost: async (job_ids) => {
      for (const { lock, child } of running.values()) {
        if (!job_ids.includes(lock.job_id)) continue;
        const held = await holdLock(parts.side.redis, lock);
        if (held !== 'held') parts.log.warn({ job_id: lock.job_id, held }, 'the lock on a job had run out');
        if (held === 'lost')
          void child.stop(new LongshoreError('E_LEASE_LOST', 'the lock on its job was lost'), 0);
      }
    },
    stopAll: (error, grace_seconds) => {
      stopping = { error, grace_seconds };
      return stopRunning(stopping);
    },
  };
}

const jobTroubles = (log: WorkerParts['log']): JobTroubles => ({
  claim: troubleTeller(log, {
    what: 'the records did not answer; the job is looked at again',
    end: 'the records answer again',
  }),
  record: troubleTeller(log, {
    what: 'an outcome could not be recorded yet',
    end: 'outcomes are recorded again',
  }),
});

/** Not before the resources of the step are there. */
async function takeInTurn(
  parts: WorkerParts,
  job: Job<JobData>,
  token: string,
  room: Room,
): Promise<unknown> {
  const needs = await takeNeeds(parts, job);
  if (!needs.granted) {
    const { resource, limit } = needs;
    parts.log.info({ ...job.data, resource, limit }, 'step waits for a resource');
    return putOff(parts, job, token, Date.now() + ASK_AGAIN_MS);
  }
  try {
    return await take(parts, job, token, room);
  } finally {
    await needs.release();
  }
}

async function take(parts: WorkerParts, job: Job<JobData>, token: string, room: Room): Promise<unknown> {
  const { store, side, log } = parts;
  const waiting = room.processes.waiting(job.name);
  const verdict = await claim(parts, job, waiting);
  if (verdict?.verdict !== 'run') waiting?.putBack();
  switch (verdict?.verdict) {
    case 'run': {
      crashPoint('after-claim');
      const about = aboutAttempt(verdict);
      log.info(about, 'step begins');
      const finish = withFollowers(
        parts,
        verdict,
        await runAttempt(parts, verdict, job, token, room, waiting),
      );
      crashPoint('before-finish');
      tellEnd(log, about, finish);
      const { key, workflow } = verdict;
      return conclude(parts, { job, token, key, workflow, losses: verdict.run.losses }, finish);
    }
    case 'done':
      await handOverAgain(parts, job.data);
      return verdict.result[0] ?? null;
    case 'stopped':
      throw new UnrecoverableError(`the step is ${verdict.status}`);
    case 'poisoned':
      log.error({ ...job.data, losses: verdict.losses }, 'a job that loses its process was set aside');
      // Not awaited: a mail that takes its time holds no slot.
      void tellSetAside(parts, job.data.workflow_id, verdict.losses);
      throw new UnrecoverableError(`lost its process ${verdict.losses} times`);
    case 'missing':
      log.error({ ...job.data, code: 'E_WORKFLOW_NOT_FOUND' }, 'a job of a workflow that is not recorded');
      throw new UnrecoverableError('E_WORKFLOW_NOT_FOUND: its workflow is not recorded');
    case 'early':
      await enqueue(job.data.workflow_id, store.records, side.chains);
      return putOff(parts, job, token, Date.now() + LOOK_AGAIN_MS);
    case undefined:
      return putOff(parts, job, token, Date.now() + LOOK_AGAIN_MS);
  }
}

type Granted = Extract<ClaimVerdict, { verdict: 'run' }>;

function withFollowers({ config, log }: WorkerParts, granted: Granted, finish: Finish | null): Finish | null {
  if (finish?.outcome !== 'success') return finish;
  const then = followersOf(config, granted.workflow, log);
  return then.length === 0 ? finish : { ...finish, then };
}

/** Null when the records are away: the job is looked at again, and no attempt is spent. */
async function claim(
  { store, config, name, host, troubles }: WorkerParts,
  job: Job<JobData>,
  waiting: WaitingProcess | null,
) {
  try {
    const { max_losses } = config.workflow;
    const process =
      waiting === null
        ? undefined
        : { pid: waiting.pid, pgid: waiting.pid, hostname: host, code: waiting.code };
    const verdict = await store.records.claim({ ...job.data, worker: name, host, process }, { max_losses });
    troubles.claim.over(job.id);
    return verdict;
  } catch (error) {
    troubles.claim.met(error, job.data, job.id);
    return null;
  }
}

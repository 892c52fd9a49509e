import type { Job } from 'bullmq';
import type { Config } from '../../../config/index.ts';
import { LongshoreError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { JobData } from '../../queue/jobs.ts';
import { holdLock, type JobLock } from '../../queue/job-lock.ts';
import { createPermits } from '../../queue/permits.ts';
import type { RunningJob } from '../../queue/registry.ts';
import type { QueueSide } from '../../queue/side.ts';
import type { AttemptKey, ClaimVerdict, Finish } from '../../records/contract.ts';
import type { Store } from '../../store.ts';
import type { Trouble } from '../../trouble.ts';
import { archiveWaitOf } from './archive-wait.ts';
import type { Questions, TaskChild } from '../isolation/child.ts';
import { crashPoint } from './crash-points.ts';
import { finishOf } from './outcome.ts';
import { endOrphan } from '../isolation/process-group.ts';
import { retryOf } from './retry-policy.ts';
import { keepApart, lostWith } from './suspects.ts';
import type { TaskProcesses, WaitingProcess } from '../isolation/task-processes.ts';

/** What the jobs of a worker meet side by side, each every second. */
export interface JobTroubles {
  /** Claiming them. */
  readonly claim: Trouble;
  /** Recording how they ended. */
  readonly record: Trouble;
}

export interface WorkerParts {
  readonly config: Config;
  readonly store: Store;
  readonly side: QueueSide;
  readonly log: Logger;
  readonly troubles: JobTroubles;
  /** Shown with every run and attempt. */
  readonly name: string;
  readonly host: string;
}

/** What an attempt is about, for whoever looks at the fleet. */
export type AboutRunning = Pick<
  RunningJob,
  'workflow_id' | 'workflow' | 'index' | 'step' | 'task' | 'dataset_id' | 'since'
>;

/** An attempt that runs in this worker. */
export interface RunningTask {
  readonly about: AboutRunning;
  readonly key: AttemptKey;
  readonly lock: JobLock;
  readonly child: TaskChild;
  /** Workers that it took along lately, or that took it along. */
  readonly lost_with: ReadonlySet<string>;
}

/** Where a worker keeps the attempts that it runs. */
export interface Room {
  readonly running: Map<string, RunningTask>;
  readonly processes: TaskProcesses;
  /** The attempt is in `running` now, and can be stopped. */
  readonly onRunning: () => void;
}

type Granted = Extract<ClaimVerdict, { verdict: 'run' }>;

/**
 * Runs one granted attempt in a process of its own, and says what the records are to be told; null when whoever
 * stopped it has changed them already.
 *
 * @param waiting a process that was named in the claim; null: it gets a new one
 */
export async function runAttempt(
  parts: WorkerParts,
  granted: Granted,
  job: Job<JobData>,
  token: string,
  { running, processes, onRunning }: Room,
  waiting: WaitingProcess | null,
): Promise<Finish | null> {
  const { config, store, log } = parts;
  const { key, run, workflow, orphan } = granted;
  if (orphan !== null) {
    const ended = await endOrphan(orphan);
    if (ended.length > 0) log.warn({ task_id: key.task_id, pids: ended }, 'ended what a lost worker left');
  }
  // The first attempt of a run has waited for nothing, and lost nobody.
  const earlier = key.number === 1 ? [] : await store.records.attempts(key.task_id);
  const apart = keepApart(earlier, running.values(), new Date());
  if (apart !== null) {
    waiting?.putBack();
    return apart;
  }
  const lock = lockOf(parts, job, token);
  const permits = createPermits(parts.side.redis, {
    prefix: config.queue.prefix,
    holder: key.task_id,
    hold_ms: lock.lock_ms,
    about: { workflow_id: workflow.id, step: run.step, worker: parts.name, since: new Date().toISOString() },
    onError: (error) => {
      if (!parts.side.refusals.met(error))
        log.warn({ err: error, task_id: key.task_id }, 'a permit could not be renewed');
    },
    // Two that write one copy destroy it. But one transfer too many for a while costs less than hours of copying.
    onLost: (resource, limit) => {
      log.warn({ task_id: key.task_id, resource, limit }, 'the permit of an attempt ran out; others hold it');
      if (limit === 1) void child.stop(lost(`its permit for ${resource} ran out; another has it`), 0);
    },
  });
  const questions: Questions = {
    lease: () => proveLease(parts, key, lock),
    permit: (resource, limit) => permits.take(resource, limit),
    overtaken: () => void child.stop(lost('the records give this step to somebody else'), 0),
  };
  const child: TaskChild =
    waiting?.start(questions) ?? processes.start({ task: run.name, task_id: key.task_id }, questions);
  running.set(key.task_id, {
    key,
    lock,
    child,
    lost_with: lostWith(earlier),
    about: aboutRunning(granted, job.data.index),
  });
  onRunning();
  try {
    const loaded = await child.loaded;
    const policy = retryOf(config, run.name, loaded?.retry ?? {});
    const wait = archiveWaitOf(earlier, config.archive.patience_seconds, new Date());
    const process = { pid: child.pid, pgid: child.pid, hostname: parts.host, code: loaded?.code ?? null };
    // One that has ended without loading is told about below.
    if (loaded === null || waiting !== null || (await store.records.running(key, process))) {
      const dataset_id = workflow.dataset_id ?? Number(run.args[0]);
      child.start({ key, run, dataset_id, max_retries: policy.max, waits_for_archive: wait.patient }, config);
      crashPoint('after-start');
    } else {
      await child.stop(lost('the step was stopped before it began'), 0);
    }
    return finishOf(await child.ended, { run, policy, wait }, new Date());
  } catch (error) {
    // A store that failed above must not leave the child behind.
    await child.stop(lost('the worker could not record this attempt'), 0);
    throw error;
  } finally {
    running.delete(key.task_id);
    // What cannot be given back now (Redis away) runs out by itself.
    await permits
      .end()
      .catch((error: unknown) => log.warn({ err: error }, 'a permit could not be given back'));
  }
}

const aboutRunning = ({ run, workflow }: Granted, index: number): AboutRunning => ({
  workflow_id: workflow.id,
  workflow: workflow.name ?? '',
  index,
  step: run.step,
  task: run.name,
  dataset_id: workflow.dataset_id,
  since: new Date().toISOString(),
});

const lost = (reason: string): LongshoreError => new LongshoreError('E_LEASE_LOST', reason);

/**
 * Both must hold: the queue still keeps this worker's lock on the job (else another worker may have it already), and
 * the records still name this attempt (else a person stopped it, or somebody claimed the step).
 */
async function proveLease(
  { side, store }: WorkerParts,
  key: AttemptKey,
  lock: JobLock,
): Promise<string | null> {
  if ((await holdLock(side.redis, lock)) === 'lost') return 'the lock on its job was lost';
  return (await store.records.isCurrent(key)) ? null : 'the step was stopped, or another attempt was begun';
}

const lockOf = ({ side, config }: WorkerParts, job: Job<JobData>, token: string): JobLock => ({
  queue: side.queues.get(job.queueName),
  job_id: job.id ?? '',
  token,
  lock_ms: config.queue.lock_seconds * 1000,
});

import type { Config } from '../../config/index.ts';
import { coerceError, isLongshoreError, LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { assertAnswers } from '../queue/connection.ts';
import { type FitnessWatch, watchFitness } from '../queue/fitness.ts';
import { openQueueSide, type QueueSide } from '../queue/side.ts';
import type {
  PauseAnswer,
  ResumeAnswer,
  RunningAttempt,
  WorkflowDocument,
  WorkflowQuery,
  WorkflowStatus,
} from '../records/contract.ts';
import type { Store } from '../store.ts';
import { type AdHocWorkflow, buildWorkflow, type WorkflowStart } from './definition.ts';
import { type FleetView, viewFleet } from './fleet.ts';
import { brings } from './joining.ts';
import { enqueue, enqueueNow, type ReconcileReport, reconcile, takeOut } from './reconcile.ts';
import { shareOf } from './share.ts';
import { type ServedWorkflow, toServed } from './status.ts';

/** Everything that may be done to workflows, from any process of the installation. */
export interface Engine {
  /**
   * Records a new workflow and queues it. One that reads a bundle back joins another that is at work on the dataset and
   * brings the same: requests for one bundle share one recall.
   * @throws E_WORKFLOW_STATE when another workflow works on the dataset, unless `alongside`
   */
  start(workflow: string | AdHocWorkflow, start: StartOptions): Promise<StartedWorkflow>;
  /** Puts whatever is missing of the workflow's chain into the queue. Idempotent; `not runnable` is no error. */
  enqueue(workflow_id: string): Promise<'added' | 'retried' | 'present' | 'not runnable'>;
  /** Stops the pending step; a resume goes on with it. */
  pause(workflow_id: string, options: StopOptions): Promise<StopAnswer>;
  /** As pause, and takes the rest of the chain out of the queue. */
  revoke(workflow_id: string, options: StopOptions): Promise<StopAnswer>;
  resume(
    workflow_id: string,
    options: { actor: string; force?: boolean; args?: unknown[] },
  ): Promise<Omit<ResumeAnswer, 'running'>>;
  /**
   * What waits of it is queued by this priority (0..9, larger sooner) at once, and its later steps will be. Answers the step
   * that is next or runs; null when all have succeeded.
   */
  prioritize(workflow_id: string, options: { actor: string; priority: number }): Promise<string | null>;
  /**
   * Stops what runs, takes the chain out of the queue and removes the records. `unless_running`: leaves one alone (0 deleted)
   * that is STARTED or was resumed, also if that happens at this very moment.
   */
  delete(
    workflow_id: string,
    options: { actor: string; unless_running?: boolean },
  ): Promise<{ deleted_count: number }>;
  list(query: WorkflowQuery, options?: ServeOptions): Promise<WorkflowPage>;
  /** @throws E_WORKFLOW_NOT_FOUND */
  show(workflow_id: string, options?: ServeOptions): Promise<ServedWorkflow>;
  counts(): Promise<Record<WorkflowStatus, number>>;
  /** The workers that are there, and the jobs of all queues. */
  fleet(): Promise<FleetView>;
  /**
   * Resolves when Redis and the records answer now: what is refused before it begins has changed nothing.
   * @throws E_REDIS_UNAVAILABLE after `wait_seconds`, or what the records say
   */
  ready(): Promise<void>;
  /** `dry_run`: only tells what it would look into. */
  reconcile(options?: { dry_run?: boolean }): Promise<ReconcileReport>;
  close(): Promise<void>;
}

export interface StartOptions extends WorkflowStart {
  /** Also when another workflow of the dataset is pending or running. */
  alongside?: boolean;
}

export type StartedWorkflow = WorkflowDocument & {
  /** Nothing was started: it is another one, which was at work already and brings what was asked for. */
  readonly joined: boolean;
};

export interface ServeOptions {
  last_task_run?: boolean;
  prev_task_runs?: boolean;
}

export interface WorkflowPage {
  metadata: { total: number; limit: number; skip: number };
  results: ServedWorkflow[];
}

export interface StopOptions {
  actor: string;
  /** What its task is given between SIGTERM and SIGKILL; default config.task.kill_grace_seconds. */
  grace_seconds?: number;
  /** Kept with the attempt and in the history. */
  reason?: string;
  /** Only if the step that is pending goes by this task id: what ended meanwhile is left alone. */
  task_id?: string;
}

export interface StopAnswer extends Omit<PauseAnswer, 'running'> {
  /**
   * What became of the process: `stopped` (its worker says that its process group is gone), `silent` (the worker
   * did not answer; it may publish nothing any more, and stops at its next write), or null when none ran.
   */
  process: 'stopped' | 'silent' | null;
}

export interface EngineParts {
  config: Config;
  store: Store;
  log: Logger;
  /** How long an operation waits for a Redis that was never reached; default 10 s, then E_REDIS_UNAVAILABLE. */
  wait_seconds?: number;
  /** Of a process that stays: it tells in its log that Redis is away, or may drop jobs. */
  stays?: boolean;
  /** Of a process that has one already; the engine does not close it. */
  queue_side?: QueueSide;
}

/** Connects at the first operation that needs Redis: what only reads the records works without it. */
export async function createEngine(given: EngineParts): Promise<Engine> {
  const { config, store, log } = given;
  const { records } = store;
  const { side, close } = lazySide(given);
  const parts = { config, store, side, log };
  return {
    start: (workflow, start) => startWorkflow(parts, workflow, start),
    enqueue: async (id) => enqueue(id, records, (await side()).chains),
    pause: (id, options) => stop(parts, id, { ...options, take_out: false }),
    revoke: (id, options) => stop(parts, id, { ...options, take_out: true }),
    resume: async (id, { actor, force = false, args }) => {
      const lock_seconds = config.workflow.resume_lock_seconds;
      const { app_id } = config;
      const options = { actor, force, lock_seconds, app_id, ...(args === undefined ? {} : { args }) };
      const { running, ...answer } = await records.resume(id, options);
      await stopProcess(parts, running, 'resumed by force');
      if (answer.resumed) await enqueueNow(id, records, (await side()).chains);
      return answer;
    },
    prioritize: (id, options) => prioritize(parts, id, options),
    delete: (id, options) => deleteWorkflow(parts, id, options),
    list: async (query, options = {}) => {
      const { total, results } = await records.listWorkflows(query, {
        prev_runs: options.prev_task_runs ?? false,
      });
      return {
        metadata: { total, limit: query.limit ?? 10, skip: query.skip ?? 0 },
        results: results.map((workflow) => toServed(workflow, options)),
      };
    },
    show: async (id, options = {}) => {
      const found = await records.workflowWithRuns(id, { prev_runs: options.prev_task_runs ?? false });
      if (found === null) throw notFound(id);
      return toServed(found, options);
    },
    counts: () => records.countWorkflows(config.app_id),
    fleet: async () => viewFleet(config, await side()),
    ready: async () => {
      await assertAnswers((await side()).redis, given.wait_seconds ?? WAIT_SECONDS);
      await records.note('ready');
    },
    reconcile: async (options) => reconcile(config, records, (await side()).chains, log, options),
    close,
  };
}

const WAIT_SECONDS = 10;

/** One attempt to connect at a time; a failed one is forgotten, so that the next operation tries again. */
function lazySide({ config, store, log, wait_seconds = WAIT_SECONDS, stays, queue_side }: EngineParts): {
  side: () => Promise<QueueSide>;
  close: () => Promise<void>;
} {
  if (queue_side !== undefined) return { side: async () => queue_side, close: async () => undefined };
  let opening: Promise<QueueSide> | null = null;
  let watching: FitnessWatch | null = null;
  const open = async (): Promise<QueueSide> => {
    const opened = await openQueueSide(config, {
      log,
      wait_seconds,
      stays,
      name: 'longshore-engine',
      shareOf: shareOf(config, store, log),
    });
    if (stays) watching = watchFitness(opened.redis, log);
    return opened;
  };
  const side = (): Promise<QueueSide> => {
    opening ??= open().catch((error: unknown) => {
      opening = null;
      throw error;
    });
    return opening;
  };
  const close = async (): Promise<void> => {
    // A connection that was never made has told its failure to the operation that asked for it.
    const opened = await opening?.catch(() => null);
    watching?.stop();
    await opened?.close();
  };
  return { side, close };
}

interface Parts {
  config: Config;
  store: Store;
  side: () => Promise<QueueSide>;
  log: Logger;
}

const notFound = (id: string): LongshoreError =>
  new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${id}`, { fields: { workflow_id: id } });

async function startWorkflow(
  { config, store: { records }, side }: Parts,
  workflow: string | AdHocWorkflow,
  { alongside = false, ...start }: StartOptions,
): Promise<StartedWorkflow> {
  const document = buildWorkflow(config, workflow, start);
  // Two workflows on one dataset would replace each other's files. Looked at and recorded in one unit, or two people
  // who start at the same moment would both pass.
  const other = await records.createWorkflow(document, { alone: !alongside });
  if (other !== null && brings(other, document)) {
    const details = { name: document.name, dataset_id: start.dataset_id };
    const subject = `workflow:${other.id}`;
    await records.audit({ actor: start.initiator, action: 'workflow.join', subject, details });
    // Whoever recorded it may have died before it was queued; who joins does not wait for the reconciliation.
    await queueRecorded(other.id, async () => void (await enqueue(other.id, records, (await side()).chains)));
    return { ...other, joined: true };
  }
  if (other !== null) {
    throw new LongshoreError(
      'E_WORKFLOW_STATE',
      `workflow ${other.id} (${other.name}) works on dataset ${start.dataset_id} already; "${document.name}" was not started`,
      {
        fields: { dataset_id: start.dataset_id, workflow_id: other.id },
        hint: `Wait for it, or take it out with \`longshore revoke ${other.id}\`.`,
      },
    );
  }
  await queueRecorded(document.id, async () => (await side()).chains.begin(document));
  return { ...document, joined: false };
}

/** A workflow that is recorded will run: who started it must not think that it was not, and start it again. */
async function queueRecorded(id: string, queue: () => Promise<void>): Promise<void> {
  try {
    await queue();
  } catch (error) {
    const { code, message, hint, fields } = coerceError(error);
    throw new LongshoreError(code, `workflow ${id} is recorded, and not queued yet: ${message}`, {
      fields: { ...fields, workflow_id: id },
      hint: `${hint} Do not start it again: the next reconciliation queues it.`,
      cause: error,
    });
  }
}

async function stop(
  parts: Parts,
  id: string,
  { grace_seconds, ...options }: StopOptions & { take_out: boolean },
): Promise<StopAnswer> {
  const { running, ...answer } = await parts.store.records.pause(id, options);
  const { take_out, actor, reason } = options;
  const why = `${take_out ? 'revoked' : 'paused'}${reason === undefined ? '' : ` by ${actor}: ${reason}`}`;
  const process = await stopProcess(parts, running, why, grace_seconds);
  const workflow = take_out ? await parts.store.records.workflow(id) : null;
  // A job that its worker still holds is taken out by that worker when it ends.
  if (workflow !== null) await takeOut(workflow, parts.store.records, (await parts.side()).chains);
  return { ...answer, process };
}

async function stopProcess(
  { config, side, log }: Parts,
  running: RunningAttempt | null,
  reason: string,
  grace_seconds = config.task.kill_grace_seconds,
): Promise<'stopped' | 'silent' | null> {
  if (running === null) return null;
  const { task_id, number, worker } = running;
  const { control } = await side();
  const answer = await control.cancel({ task_id, number, worker, reason, grace_seconds }, grace_seconds + 5);
  if (answer === 'silent')
    log.warn(
      { task_id, worker },
      'the worker did not confirm that the task was stopped; it may publish nothing',
    );
  return answer;
}

async function prioritize(
  { store: { records }, side }: Parts,
  id: string,
  options: { actor: string; priority: number },
): Promise<string | null> {
  const { chains } = await side(); // Before the records: a Redis that is away changes nothing.
  const { index } = await records.prioritize(id, options);
  const workflow = index === -1 ? null : await records.workflow(id);
  if (workflow === null) return null;
  await chains.prioritize(workflow, index);
  return workflow.steps[index]?.name ?? null;
}

interface Deletion {
  actor: string;
  unless_running?: boolean;
}

async function deleteWorkflow(
  parts: Parts,
  id: string,
  deletion: Deletion,
): Promise<{ deleted_count: number }> {
  try {
    return await deleteReadable(parts, id, deletion);
  } catch (error) {
    const isUnreadable = isLongshoreError(error) && error.code === 'E_WORKFLOW_UNREADABLE';
    if (!isUnreadable || deletion.unless_running === true) throw error;
    return discard(parts, id, deletion.actor, error.fields);
  }
}

async function deleteReadable(
  parts: Parts,
  id: string,
  { actor, unless_running = false }: Deletion,
): Promise<{ deleted_count: number }> {
  const { records } = parts.store;
  const workflow = await records.workflow(id);
  if (workflow === null) return { deleted_count: 0 };
  const { chains } = await parts.side();
  if (!unless_running) await stop(parts, id, { actor, take_out: true });
  else if (workflow._status === 'STARTED' || workflow.resume_lock !== null) return { deleted_count: 0 };
  // The queue first: a job without a record would lie there for ever once its workflow has failed.
  else await chains.remove(workflow);
  const deleted_count = await records.deleteWorkflow(id, { unless_running });
  // Begun or resumed in between: it stays, and so does its place in the queue.
  if (deleted_count === 0) await enqueue(id, records, chains);
  else await records.audit({ actor, action: 'workflow.delete', subject: `workflow:${id}`, details: {} });
  return { deleted_count };
}

/** Nobody can tell what is queued of it; a worker drops such a job, as of every workflow that is not recorded. */
async function discard(
  parts: Parts,
  id: string,
  actor: string,
  { oddity }: Record<string, unknown>,
): Promise<{ deleted_count: number }> {
  const { records } = parts.store;
  const running = (await records.discardUnreadable?.(id)) ?? null;
  if (running === null) return { deleted_count: 0 };
  for (const attempt of running) await stopProcess(parts, attempt, 'deleted');
  const subject = `workflow:${id}`;
  await records.audit({ actor, action: 'workflow.delete', subject, details: { oddity } });
  return { deleted_count: 1 };
}

import { LongshoreError } from '../errors.ts';
import { assertAnswers } from '../queue/connection.ts';
import type { ResumeAnswer, WorkflowQuery, WorkflowStatus } from '../records/contract.ts';
import type { AdHocWorkflow } from './definition.ts';
import { type Deletion, deleteWorkflow } from './delete.ts';
import { dismissDeleted } from './dismissal.ts';
import { type FleetView, viewFleet } from './fleet.ts';
import { type EngineParts, type Ground, lazySide, WAIT_SECONDS } from './queue-reach.ts';
import { enqueue, enqueueNow, type ReconcileReport, reconcile } from './reconcile.ts';
import { type StartedWorkflow, type StartOptions, startWorkflow } from './start.ts';
import { type ServedWorkflow, toServed } from './status.ts';
import { type StopAnswer, type StopOptions, stop, stopProcess } from './stop.ts';

export type { EngineParts, StartedWorkflow, StartOptions, StopAnswer, StopOptions };

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
  delete(workflow_id: string, options: Deletion): Promise<{ deleted_count: number }>;
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
  /** Failed workflows whose dataset was deleted wait for nobody any more. Answers their ids; `dry_run`: only that. */
  dismissDeleted(options?: { dry_run?: boolean }): Promise<string[]>;
  close(): Promise<void>;
}

export interface ServeOptions {
  last_task_run?: boolean;
  prev_task_runs?: boolean;
}

export interface WorkflowPage {
  metadata: { total: number; limit: number; skip: number };
  results: ServedWorkflow[];
}

/** Connects at the first operation that needs Redis: what only reads the records works without it. */
export async function createEngine(given: EngineParts): Promise<Engine> {
  const { config, store, log } = given;
  const { records } = store;
  const { side, close } = lazySide(given);
  const ground: Ground = { config, store, side, log };
  return {
    start: (workflow, start) => startWorkflow(ground, workflow, start),
    enqueue: async (id) => enqueue(id, records, (await side()).chains),
    pause: (id, options) => stop(ground, id, { ...options, take_out: false }),
    revoke: (id, options) => stop(ground, id, { ...options, take_out: true }),
    resume: async (id, { actor, force = false, args }) => {
      const lock_seconds = config.workflow.resume_lock_seconds;
      const { app_id } = config;
      const options = { actor, force, lock_seconds, app_id, ...(args === undefined ? {} : { args }) };
      const { running, ...answer } = await records.resume(id, options);
      await stopProcess(ground, running, 'resumed by force');
      if (answer.resumed) await enqueueNow(id, records, (await side()).chains);
      return answer;
    },
    prioritize: (id, options) => prioritize(ground, id, options),
    delete: (id, options) => deleteWorkflow(ground, id, options),
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
    dismissDeleted: (options) => dismissDeleted(ground, options),
    close,
  };
}

const notFound = (id: string): LongshoreError =>
  new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${id}`, { fields: { workflow_id: id } });

async function prioritize(
  { store: { records }, side }: Ground,
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

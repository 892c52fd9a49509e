/**
 * What is stored of workflows and runs. The fields of `workflow_meta` and `celery_taskmeta` are those of the reference, in
 * its types, so that its readers go on working; ours stand beside them. Documents that the reference itself wrote lack
 * ours, and very old ones name, app_id and _status, too.
 */
import type { ObjectId } from 'mongodb';
import type { ErrorReport } from '../../errors.ts';
import type { Versioned } from '../../mongodb/change.ts';
import type { Outbox } from '../../mongodb/outbox.ts';
import { jsonRead } from '../../mongodb/values.ts';
import type {
  Attempt,
  OldWorkflow,
  TaskRun,
  TaskStatus,
  WorkflowDocument,
  WorkflowStatus,
  WorkflowStep,
} from '../contract.ts';
import { stableId } from '../stable-id.ts';

export const WORKFLOWS = 'workflow_meta';
export const RUNS = 'celery_taskmeta';
export const ATTEMPTS = 'longshore_attempts';
export const AUDIT = 'longshore_audit';

export type StepDocument = Pick<WorkflowStep, 'name' | 'task'> &
  Partial<Pick<WorkflowStep, 'queue' | 'priority' | 'needs' | 'args'>> & {
    kwargs?: Record<string, unknown> | null;
    /** Absent before the first run. */
    task_runs?: { task_id: string; date_start?: Date }[] | null;
    /** See {@link nextTaskIdOf}. */
    next_task_id?: string;
  };

export interface WorkflowRecord extends Versioned {
  _id: string;
  created_at?: Date;
  updated_at?: Date;
  name?: string | null;
  app_id?: string | null;
  description?: string | null;
  steps: StepDocument[];
  _status?: WorkflowStatus;
  resume_lock?: Date | null;
  dataset_id?: number | null;
  /** See {@link startArgsOf}. */
  args?: unknown[] | null;
  start_kwargs?: Record<string, unknown>;
  revoked_at?: Date | null;
  initiator?: string;
  /** Of two that were created in the same millisecond, the later one. */
  order?: ObjectId;
  /** Being deleted; everything that belongs to it goes first. */
  deleting?: boolean;
  outbox?: Outbox;
}

/** An attempt inside of its run; `given_on`: its job was given to another worker while it was open. `error` is JSON. */
export type AttemptPart = Omit<Attempt, 'task_id' | 'error'> & { error: string | null; given_on?: boolean };
export type AttemptRecord = AttemptPart & { _id: string; task_id: string };

export interface RunRecord extends Versioned {
  _id: string;
  status: TaskStatus;
  /** JSON. */
  result: string | null;
  traceback: string | null;
  children: unknown[];
  /** ISO 8601 without a zone, as the reference has it. */
  date_done: string | Date | null;
  name: string;
  args: unknown[];
  kwargs: Record<string, unknown>;
  worker: string;
  retries: number;
  queue: string;
  parent_id?: string | null;

  workflow_id?: string;
  step?: string;
  position?: number;
  is_last?: boolean;
  dataset_id?: number | null;
  date_start?: Date;
  order?: ObjectId;
  losses?: number;
  /** How far the job itself is to blame for its losses, see claims.ts. */
  blame?: number;
  /** The newest one; null for a step that was paused before it began. */
  attempt?: AttemptPart | null;
  /** The one before, which nothing changes any more; it moves to the attempts with the next claim. */
  closed?: AttemptPart | null;
  /** By a revoke, which also takes the workflow out of the queue. */
  taken_out?: Date | null;
  outbox?: Outbox;
}

/** A date that is none, which a hand may have written, is one that is not known. */
const isoOrNull = (date: unknown): string | null =>
  date instanceof Date && !Number.isNaN(date.getTime()) ? date.toISOString() : null;
const dateOrNull = (text: string | null): Date | null => (text === null ? null : new Date(text));

/** Six digits, as Python writes and reads them. */
export const naiveNow = (): string => `${new Date().toISOString().slice(0, -1)}000`;

/** As it is stored, to the microsecond, with its zone; of ours the three digits that are always zero are left out. */
function dateDoneOf(stored: unknown): string | null {
  if (typeof stored !== 'string') return isoOrNull(stored);
  const naive = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|\+00:?00)?$/.exec(stored)?.[1];
  if (naive !== undefined) return `${naive.replace(/(\.\d{3})000$/, '$1')}Z`;
  return isoOrNull(new Date(stored)) ?? stored;
}

/**
 * The only task id that a claim of the step may run under. The reference keeps none: there it is that of the last run, which
 * may go on if it has not ended; for a step that has not begun it is one that everybody who looks derives alike.
 */
export function nextTaskIdOf({ _id, steps }: WorkflowRecord, position: number): string {
  const step = steps[position];
  return step?.next_task_id ?? step?.task_runs?.at(-1)?.task_id ?? stableId(`${_id} step ${position}`);
}

/** A step that names no queue runs in the default one of its application; empty where it is not known whose it is. */
export const queueOf = ({ app_id }: WorkflowRecord, { queue }: StepDocument): string =>
  queue || (app_id ? `${app_id}.q` : '');

/** Null: they are not known. The reference hands those of a first step to its broker, and records them when it begins. */
export const startArgsOf = ({ args, dataset_id }: WorkflowRecord): unknown[] | null => {
  if (args) return args;
  return typeof dataset_id === 'number' ? [dataset_id] : null;
};

export function recordOf(workflow: WorkflowDocument): Omit<WorkflowRecord, 'order'> {
  const { id, created_at, updated_at, steps, resume_lock, revoked_at, ...rest } = workflow;
  return {
    _id: id,
    ...(created_at === null ? {} : { created_at: new Date(created_at) }),
    ...(updated_at === null ? {} : { updated_at: new Date(updated_at) }),
    ...rest,
    steps: steps.map(({ task_runs, ...step }) => ({
      ...step,
      ...(task_runs.length === 0
        ? {}
        : {
            task_runs: task_runs.map(({ task_id, date_start }) => ({
              task_id,
              ...(date_start === null ? {} : { date_start: new Date(date_start) }),
            })),
          }),
    })),
    ...(resume_lock === null ? {} : { resume_lock: new Date(resume_lock) }),
    revoked_at: dateOrNull(revoked_at),
  };
}

export const oldOf = (record: WorkflowRecord): OldWorkflow => ({
  id: record._id,
  name: record.name ?? null,
  dataset_id: record.dataset_id ?? null,
  status: record._status ?? 'PENDING',
  resume_lock: isoOrNull(record.resume_lock),
  created_at: isoOrNull(record.created_at),
});

export function workflowOf(record: WorkflowRecord): WorkflowDocument {
  return {
    id: record._id,
    name: record.name ?? null,
    app_id: record.app_id ?? null,
    description: record.description ?? null,
    dataset_id: record.dataset_id ?? null,
    args: startArgsOf(record),
    start_kwargs: record.start_kwargs ?? {},
    steps: record.steps.map((step, position) => ({
      name: step.name,
      task: step.task,
      queue: queueOf(record, step),
      kwargs: step.kwargs ?? {},
      priority: step.priority ?? Math.min(position + 1, 9),
      ...(step.needs === undefined ? {} : { needs: step.needs }),
      task_runs: (step.task_runs ?? []).map(({ task_id, date_start }) => ({
        task_id,
        date_start: isoOrNull(date_start),
      })),
      next_task_id: nextTaskIdOf(record, position),
      ...(step.args === undefined ? {} : { args: step.args }),
    })),
    _status: record._status ?? 'PENDING',
    resume_lock: isoOrNull(record.resume_lock),
    revoked_at: isoOrNull(record.revoked_at),
    initiator: record.initiator ?? '',
    created_at: isoOrNull(record.created_at),
    updated_at: isoOrNull(record.updated_at),
  };
}

/** @param started when the workflow says that it began, for runs that do not say it themselves */
export function runOf(record: RunRecord, started?: Date): TaskRun {
  const kwargs = record.kwargs ?? {};
  return {
    _id: record._id,
    workflow_id: record.workflow_id ?? textOf(kwargs.workflow_id),
    step: record.step ?? textOf(kwargs.step),
    status: record.status,
    result: record.result === null || record.result === undefined ? null : parsed(record.result),
    traceback: record.traceback ?? null,
    children: record.children ?? [],
    date_start: isoOrNull(record.date_start ?? started),
    date_done: dateDoneOf(record.date_done),
    name: record.name ?? '',
    args: record.args ?? [],
    kwargs,
    worker: record.worker ?? '',
    retries: record.retries ?? 0,
    losses: record.losses ?? 0,
    queue: record.queue ?? '',
    parent_id: record.parent_id ?? null,
  };
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** What the reference could not encode it stores as it is. */
export function parsed(result: unknown): unknown {
  if (typeof result !== 'string') return result;
  try {
    return JSON.parse(result) as unknown;
  } catch {
    return result;
  }
}

export function attemptOf(task_id: string, part: AttemptPart): Attempt {
  const { number, worker, host, pgid, code, date_start, date_end, outcome, error, reason, next_attempt_at } =
    part;
  return {
    task_id,
    number,
    worker,
    host,
    pgid,
    code,
    date_start,
    date_end,
    outcome,
    error: error === null ? null : jsonRead<ErrorReport>(error),
    reason,
    next_attempt_at,
  };
}

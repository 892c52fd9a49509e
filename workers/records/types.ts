/** What is recorded of workflows, runs and attempts. All dates are ISO 8601 UTC text with milliseconds. */
import type { ErrorReport } from '../errors.ts';

export type TaskStatus = 'PENDING' | 'STARTED' | 'SUCCESS' | 'FAILURE' | 'RETRY' | 'REVOKED';
export type WorkflowStatus = Exclude<TaskStatus, 'RETRY'>;
/** DONE = SUCCESS, FAILURE, REVOKED; ACTIVE = PENDING, STARTED; EXCEPTION = FAILURE, REVOKED. */
export type StatusGroup = 'DONE' | 'ACTIVE' | 'EXCEPTION';

export interface WorkflowStep {
  name: string;
  task: string;
  queue: string;
  kwargs: Record<string, unknown>;
  /** 0..9, larger runs sooner. */
  priority: number;
  /** Resources of config.resources that it holds while it runs. */
  needs?: string[];
  /** Runs of this step, oldest first; a run appears when it starts. */
  task_runs: { task_id: string; date_start: string | null }[];
  /** The only task id that a claim of this step may run under; replaced by each resume. */
  next_task_id: string;
  /** Given by a resume before the step had ever begun; they take the place of what the previous step handed on. */
  args?: unknown[];
}

export interface WorkflowDocument {
  id: string;
  /** Null, as app_id and created_at: in documents of the reference that have none. */
  name: string | null;
  app_id: string | null;
  description: string | null;
  dataset_id: number | null;
  /** Positional arguments of the first step; `args[0]` is the dataset id. Null: a reference's document without them. */
  args: unknown[] | null;
  /** Given at start, kept for every step and every resume; they overlay a step's own kwargs. */
  start_kwargs: Record<string, unknown>;
  steps: WorkflowStep[];
  /** Cached for filters and counts; what is served is derived from the runs. */
  _status: WorkflowStatus;
  resume_lock: string | null;
  /** Set by revoke: the rest of the chain was taken out of the queue. */
  revoked_at: string | null;
  initiator: string;
  created_at: string | null;
  updated_at: string | null;
}

/** `{name, fraction_done, done, total, units, time_remaining_sec, wt_avg_rate, avg_rate}`; rates in units per second. */
export interface Progress {
  name: string;
  fraction_done: number | null;
  done: number;
  total: number | null;
  units: string | null;
  time_remaining_sec: number | null;
  wt_avg_rate: number | null;
  avg_rate: number | null;
}

/** One run of a step under one task id (spec 2.2). */
export interface TaskRun {
  _id: string;
  workflow_id: string;
  step: string;
  status: TaskStatus;
  /** STARTED: progress, `{pid, hostname}`, or `{waits, code, next_attempt_at}`; SUCCESS: the return values; FAILURE, RETRY, REVOKED: {@link TaskFailure}. */
  result: unknown;
  traceback: string | null;
  children: unknown[];
  /** Null: the reference did not keep it. */
  date_start: string | null;
  /** To the microsecond where the reference wrote it. */
  date_done: string | null;
  name: string;
  args: unknown[];
  kwargs: Record<string, unknown>;
  worker: string;
  /** Times the task was tried again after a retryable error; 0 on the first run. */
  retries: number;
  /** Times a process that ran it was lost. */
  losses: number;
  queue: string;
  parent_id: string | null;
}

export interface TaskFailure {
  exc_type: string;
  exc_message: unknown[];
  exc_module: string;
  code: string;
  class: string;
  hint: string;
  fields: Record<string, unknown>;
}

export type AttemptOutcome = 'success' | 'retry' | 'failure' | 'postponed' | 'lost' | 'revoked';

/** The code that an attempt ran. */
export interface CodeVersion {
  /** Over the file of the task and everything that it imports of the checkout: the same text, the same digest. */
  digest: string;
  /** Of package.json. */
  package: string;
  /** What the checkout was at; null where it is no git work tree. The digest tells whether files differed from it. */
  commit: string | null;
}

/** One try: who, where, when, with which code, and why it ended. Kept for ever. */
export interface Attempt {
  task_id: string;
  /** 1, 2, … within the task id. */
  number: number;
  worker: string;
  host: string;
  /** Process group of the child, once it runs. */
  pgid: number | null;
  /** Null before its process has loaded it. */
  code: CodeVersion | null;
  date_start: string;
  date_end: string | null;
  outcome: AttemptOutcome | null;
  error: ErrorReport | null;
  /** One line: why it was retried, postponed, lost or revoked. */
  reason: string | null;
  next_attempt_at: string | null;
}

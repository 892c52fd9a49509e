/**
 * Records: what happened. Workflows, the runs of their tasks, every attempt, progress, process logs, audit.
 *
 * Redis decides what runs next; records decide what has happened and what is *allowed* to happen: a worker that
 * takes a job must `claim` its step here, and every later write names the attempt that the claim gave out, so that
 * nothing late overwrites a newer state.
 *
 * Shapes keep the names of the reference (workflow_meta, celery_taskmeta), so that its readers can be served.
 * All dates are ISO 8601 UTC text with milliseconds.
 */
import type {
  Claim,
  AttemptProcess,
  AttemptKey,
  ClaimVerdict,
  Finish,
  Finished,
  RunningAttempt,
} from './claim.ts';
import type { WorkflowStatus, StatusGroup, WorkflowDocument, Progress, TaskRun, Attempt } from './types.ts';

export type {
  Claim,
  AttemptProcess,
  AttemptKey,
  WorkflowInHand,
  ClaimVerdict,
  Finish,
  NextStep,
  Finished,
  RunningAttempt,
} from './claim.ts';
export type {
  TaskStatus,
  WorkflowStatus,
  StatusGroup,
  WorkflowStep,
  WorkflowDocument,
  Progress,
  TaskRun,
  TaskFailure,
  AttemptOutcome,
  Attempt,
  CodeVersion,
} from './types.ts';

export interface PauseAnswer {
  paused: boolean;
  revoked_step?: { task_id: string; task: string; name: string };
  /** The attempt that was running, to be stopped by its worker. */
  running: RunningAttempt | null;
  /** Position of the pending step, or -1 when every step has succeeded. */
  index: number;
}

export interface ResumeAnswer {
  resumed: boolean;
  restarted_step?: { name: string; task: string };
  index: number;
  /** Only after force: the attempt that was running, to be stopped by its worker. */
  running: RunningAttempt | null;
}

/** Of an app and any of the names, created before a time (ISO 8601, exclusive). */
export type OldQuery = Required<Pick<WorkflowQuery, 'app_id' | 'names' | 'created_before'>>;

export type OldPlace = Pick<OldWorkflow, 'created_at' | 'id'>;

/** Of a workflow what tells whether it is still of use. */
export interface OldWorkflow
  extends Pick<WorkflowDocument, 'id' | 'name' | 'dataset_id' | 'resume_lock' | 'created_at'> {
  readonly status: WorkflowStatus;
}

/** A workflow that should have an entry in the queue. */
export interface LiveWorkflow {
  id: string;
  app_id: string;
  /** Position of the step that runs next or now. */
  index: number;
}

export interface WorkflowQuery {
  app_id?: string;
  status?: WorkflowStatus | StatusGroup;
  /** An empty list matches nothing; leave it out for no filter. */
  workflow_ids?: readonly string[];
  /** Only hexadecimal digits and dashes. */
  id_prefix?: string;
  dataset_id?: number;
  name?: string;
  /** Any of these; an empty list matches nothing. */
  names?: readonly string[];
  /** Created before this time (ISO 8601, exclusive). */
  created_before?: string;
  /** Whether a person has revoked it, also after it had failed. */
  revoked?: boolean;
  skip?: number;
  /** Default 10. */
  limit?: number;
  sort_order_asc?: boolean;
}

/** A workflow with the last run of each step, by position; null where a step has not run. */
export interface WorkflowWithRuns {
  workflow: WorkflowDocument;
  last_runs: (TaskRun | null)[];
  /** Earlier runs of each step, oldest first; only when asked for. */
  prev_runs?: TaskRun[][];
}

export interface CleanRun {
  dataset_id: number;
  date_start: string;
  date_done: string;
}

export interface LogLine {
  timestamp: string;
  level: 'stdout' | 'stderr';
  message: string;
}

export interface ProcessRegistration {
  workflow_id: string | null;
  step: string;
  task_id: string;
  pid: number;
  hostname: string;
  start_time: string;
  tags: { args: string[] };
}

export interface AuditEntry {
  at: string;
  actor: string;
  /** `workflow.pause`, `dataset.register`, `dataset.delete`, … */
  action: string;
  subject: string;
  details: Record<string, unknown>;
}

/** What the watch remembers between scans and restarts. */
export interface WatchMemory {
  /** Names of all folders of a source that have been dealt with. */
  known(source: string): Promise<Set<string>>;
  /** Both lists in one transaction; names that are there (or gone) already are no error. */
  apply(source: string, change: { add?: readonly string[]; remove?: readonly string[] }): Promise<void>;
  /** Scans since the last full one; 0 for a new source. */
  counter(source: string): Promise<number>;
  setCounter(source: string, scans: number): Promise<void>;
}

export interface Records {
  /**
   * Inserts; an id that exists is left as it is (a repeated create is the same create). `alone`: only while no other
   * workflow of its dataset is live (see {@link liveWorkflows}); answers that other one, null when it is inserted. One
   * unit, so that of two people who start at the same moment one is told about the other.
   */
  createWorkflow(workflow: WorkflowDocument, options?: { alone?: boolean }): Promise<WorkflowDocument | null>;
  workflow(id: string): Promise<WorkflowDocument | null>;
  workflowWithRuns(id: string, options?: { prev_runs?: boolean }): Promise<WorkflowWithRuns | null>;
  /** Newest first. One query for the runs of the whole page. */
  listWorkflows(
    query: WorkflowQuery,
    options?: { prev_runs?: boolean },
  ): Promise<{ total: number; results: WorkflowWithRuns[] }>;
  /** Five keys, zeros present. Null: those without an app_id, which only very old documents are. */
  countWorkflows(app_id: string | null): Promise<Record<WorkflowStatus, number>>;
  /** Names of all steps that have ever begun, each once, in order. */
  stepNames(): Promise<string[]>;
  /**
   * PENDING, STARTED, or resumed and not yet begun: what must be found in the queue. In order of id, after `after`;
   * fewer than `limit` (default 1000): the last page.
   */
  liveWorkflows(page: { after?: string; limit?: number }): Promise<LiveWorkflow[]>;
  /**
   * In the order of their creation, after the one that is given; fewer than `limit`: the last page. For those who go through
   * all: the pages of `listWorkflows` are counted from the first one each, and its total with them.
   */
  oldWorkflows(query: OldQuery, page: { after?: OldPlace; limit: number }): Promise<OldWorkflow[]>;
  /**
   * Removes the workflow, its runs, attempts and logs; answers how many workflows (0 or 1). `unless_running`: not while it
   * is STARTED or resumed; looked at and removed in one unit, so that a resume at the same moment is not cut off.
   */
  deleteWorkflow(id: string, options?: { unless_running?: boolean }): Promise<number>;
  /**
   * Removes a workflow that E_WORKFLOW_UNREADABLE names, and everything that names it; answers the attempts that ran, to be
   * stopped by their workers, or null when it is gone. Absent where nobody else writes the documents.
   */
  discardUnreadable?(id: string): Promise<RunningAttempt[] | null>;

  claim(claim: Claim, policy: { max_losses: number }): Promise<ClaimVerdict>;
  /** The child runs: its process group and code, and `{pid, hostname}` as the run's first result. False: not current any more. */
  running(key: AttemptKey, process: AttemptProcess): Promise<boolean>;
  progress(key: AttemptKey, progress: Progress | Record<string, unknown>): Promise<boolean>;
  /** True while this attempt is the one that may publish. */
  isCurrent(key: AttemptKey): Promise<boolean>;
  /** Closes the attempt and moves run and workflow; null when the attempt is no longer current (nothing written). */
  finish(key: AttemptKey, finish: Finish): Promise<Finished | null>;

  /**
   * Marks the pending step REVOKED (a step that has not begun gets a revoked run). `take_out`: revoke, not pause; on a
   * step that has failed or is revoked already it only sets `revoked_at` (paused: false). `task_id`: only while the pending
   * step goes by it. `reason` is kept with the attempt and the audit.
   * @throws E_WORKFLOW_NOT_FOUND
   */
  pause(
    id: string,
    options: { actor: string; take_out: boolean; reason?: string; task_id?: string },
  ): Promise<PauseAnswer>;
  /**
   * Gives the pending step a new task id and takes the resume lock. `force`: also when it is not FAILURE or REVOKED.
   * `args`: for a step that has never begun; one that has is run again with what it was given. `app_id`: whose it becomes if
   * it is so old that it names no application; else nobody would know in which queue it runs.
   * @throws E_WORKFLOW_NOT_FOUND, E_WORKFLOW_INVALID when nobody knows what the step is to be given
   */
  resume(
    id: string,
    options: { actor: string; force: boolean; args?: unknown[]; lock_seconds: number; app_id?: string },
  ): Promise<ResumeAnswer>;

  /**
   * The pending step and those after it have this priority from now on, with an entry in the audit trail. Answers the
   * position of the pending step; -1 when every step has succeeded (nothing written).
   * @throws E_WORKFLOW_NOT_FOUND
   */
  prioritize(id: string, options: { actor: string; priority: number }): Promise<{ index: number }>;

  attempts(task_id: string): Promise<Attempt[]>;
  /** Runs of a task that succeeded in their first try, newest first: what they took is what such a run takes. */
  cleanRuns(query: { task: string; limit: number }): Promise<CleanRun[]>;

  registerProcess(process: ProcessRegistration): Promise<number>;
  /** By what id the facility's API knows a process; null: it was not told yet. Absent where there is no such API. */
  facilityProcess?(process_id: number): Promise<number | null>;
  /** @throws E_WORKFLOW_NOT_FOUND when the process went with its deleted workflow */
  appendLogs(process_id: number, lines: readonly LogLine[]): Promise<void>;
  /** Lines after `after` (exclusive line id), in order; `limit` is 1000 by default. */
  logs(query: {
    workflow_id?: string;
    task_id?: string;
    process_id?: number;
    after?: number;
    limit?: number;
  }): Promise<(LogLine & { id: number; process_id: number; step: string })[]>;
  /**
   * Removes the lines of processes that were started before a time (ISO 8601), the oldest first, and those without any. About
   * `limit` of them, so that nobody waits for it; answers how many.
   */
  forgetLogs(before: string, limit: number): Promise<number>;

  audit(entry: Omit<AuditEntry, 'at'>): Promise<void>;
  /** Newest first; 100 by default. Subjects are written `dataset:<id>` and `workflow:<id>`. */
  auditLog(query: { subject?: string; limit?: number }): Promise<AuditEntry[]>;

  readonly watch: WatchMemory;
  /** A small fact that a script keeps between runs, as JSON; null when there is none. Setting null removes it. */
  note(key: string): Promise<unknown>;
  setNote(key: string, value: unknown): Promise<void>;

  close(): Promise<void>;
}

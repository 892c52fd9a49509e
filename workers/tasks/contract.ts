/**
 * What a task body is given and what it gives back. A task is one file in workers/tasks/ that exports `task`; its
 * file name is its name. Nothing here knows of queues, workers or processes.
 */
import type { Config } from '../../config/index.ts';
import type { SomeRetryPolicy, SomeTaskLimits } from '../../config/task-limits.ts';
import type { Catalog } from '../catalog/contract.ts';
import { coerceError, isLongshoreError, LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Progress } from '../records/contract.ts';

export interface TaskContext {
  /** Positional argument of every task. */
  readonly dataset_id: number;
  readonly args: readonly unknown[];
  /** Step kwargs, overlaid by start kwargs, overlaid by workflow_id, step, app_id. */
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly config: Config;
  /** Every write through it first proves that this attempt still owns its job. */
  readonly catalog: Catalog;
  readonly run: {
    readonly workflow_id: string;
    readonly step: string;
    readonly task_id: string;
    readonly attempt: number;
    /** How often it has failed with a retryable error before this attempt. */
    readonly retries: number;
    /** How often it is tried again when this attempt fails with a retryable error. */
    readonly retries_left: number;
    /** Whether an archive that is away postpones it (E_ARCHIVE_UNAVAILABLE); false: its patience is over. */
    readonly waits_for_archive: boolean;
    /** When its first attempt began. */
    readonly date_start: string;
  };
  readonly log: Logger;
  /**
   * Aborted when the task is paused, revoked, timed out or its worker goes away. After a soft time limit
   * ({@link outOfTime}) the job is still this attempt's, and what it has may be published.
   */
  readonly signal: AbortSignal;
  readonly lease: {
    /** Call right before each effect that others can see (rename, link, delete). @throws E_LEASE_LOST */
    assert(): Promise<void>;
  };
  /**
   * One of `limit` permits that the whole fleet has for a resource, held until this attempt has ended; false when all are
   * taken: then the task returns a postponement rather than wait in its slot.
   */
  permit(resource: string, limit: number): Promise<boolean>;
  /** Starts a progress display; at most one write per second, the last value always. */
  progress(name: string, options: { total: number | null; units: string }): ProgressMeter;
  /** Writes progress as it is (await_stability has its own shape). */
  report(progress: Progress | Record<string, unknown>): void;
  /** Runs an external program: no shell, its lines go to the process logs. @throws E_SUBPROCESS, E_NO_SPACE, E_TOOL_MISSING */
  tool(command: string, args: readonly string[], options?: ToolOptions): Promise<ToolResult>;
  /** By what id the facility's own pages know a process of {@link ToolResult}; null: they were not told of it yet. */
  facilityProcess(process_id: number): Promise<number | null>;
  audit(action: string, details: Record<string, unknown>): Promise<void>;
}

export interface ToolOptions {
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  /** Keep stdout in the result (up to this many bytes); default 0. */
  capture_bytes?: number;
  /** Keep lines of either stream that match in the result: for programs whose exit code hides a failure. */
  watch_for?: RegExp;
}

export interface ToolResult {
  /** In the records; null when the log store was away from start to end. */
  readonly process_id: number | null;
  readonly stdout: string;
  /** The first lines that matched `watch_for`. */
  readonly seen: readonly string[];
  /** Output that could neither be delivered nor kept; 0 unless the log store was away for long. */
  readonly lost_lines: number;
}

export interface ProgressMeter {
  /** `done` in the units of the meter; `skipped` of it was no work, and says nothing of how long the rest takes. */
  set(done: number, skipped?: number): void;
  add(count: number): void;
  /** Writes the final value. */
  end(): void;
}

/** Try again later without holding a slot; not a retry. */
export interface Postponement {
  readonly postpone: {
    readonly until: Date;
    readonly reason: string;
    readonly progress?: Record<string, unknown>;
  };
}

/** What a finished task hands on: the first element is the argument of the next step. */
export type TaskReturn = readonly unknown[];

export interface Task {
  /** One line for `longshore tasks` and the docs. */
  readonly description: string;
  /** Resources of config.resources that it holds while it runs; those that are not configured have no limit. */
  readonly needs?: readonly string[];
  /** Of time, memory, processor and disk; those of config.task hold for the rest. See docs/tasks.md. */
  readonly limits?: SomeTaskLimits;
  /** Other than config.workflow.retry; config.workflow.retry.tasks beats it. */
  readonly retry?: SomeRetryPolicy;
  run(context: TaskContext): Promise<TaskReturn | Postponement>;
}

export function postpone(until: Date, reason: string, progress?: Record<string, unknown>): Postponement {
  return { postpone: progress === undefined ? { until, reason } : { until, reason, progress } };
}

export const isPostponement = (value: TaskReturn | Postponement): value is Postponement =>
  'postpone' in value;

/**
 * Whether somebody goes on with what this attempt leaves half done: the next attempt, another worker (this one leaves in
 * good order), or the one that has taken the job over, whose files these may be by now.
 * @param failure what the attempt ends with; null when it has succeeded
 */
export function willGoOn({ signal, run }: Pick<TaskContext, 'signal' | 'run'>, failure: unknown): boolean {
  if (failure === null) return false;
  const { code, class: kind } = coerceError(signal.aborted ? signal.reason : failure);
  if (code === 'E_WORKER_STOPPED' || code === 'E_LEASE_LOST') return true;
  if (kind !== 'retryable') return false;
  return run.retries_left > 0 || (code === 'E_ARCHIVE_UNAVAILABLE' && run.waits_for_archive);
}

/**
 * Removes what this attempt leaves half done, if nobody goes on with it. That it could not be removed matters less than why
 * the attempt failed, which says whether another copy, a retry or a person can help.
 */
export async function clearRest(
  ctx: Pick<TaskContext, 'signal' | 'run' | 'log'>,
  failure: unknown,
  clear: () => Promise<void>,
): Promise<void> {
  if (willGoOn(ctx, failure)) return;
  try {
    await clear();
  } catch (error) {
    if (failure === null) throw error;
    const { code, message: reason } = coerceError(error);
    ctx.log.warn({ code, reason }, 'what the attempt has left could not be removed');
  }
}

/** Its soft time limit is over: it has until the hard one to keep what it has, and then to throw or to postpone. */
export const outOfTime = ({ signal }: Pick<TaskContext, 'signal'>): boolean =>
  signal.aborted && isSoftTimeout(signal.reason);

/** The reason with which a soft time limit aborts a task. */
export const isSoftTimeout = (reason: unknown): boolean =>
  isLongshoreError(reason) && reason.code === 'E_TIMEOUT' && reason.fields.limit === 'soft';

/** Types a task where it stands: `export const task = defineTask({ … })`. */
export const defineTask = (task: Task): Task => task;

/**
 * @param module what its file exports
 * @throws E_TASK_UNKNOWN saying what the file lacks
 */
export function taskOf(name: string, file: string, { task }: { task?: Partial<Task> }): Task {
  if (typeof task?.run === 'function') return task as Task;
  throw new LongshoreError('E_TASK_UNKNOWN', `${file} does not export a task`, {
    fields: { task: name, file },
    hint: 'Export it as `export const task = defineTask({ description, run })`; see workers/tasks/contract.ts.',
  });
}

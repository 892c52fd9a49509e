/** Workflows as the reference's readers get them: no key more, none less, dates with six digits. */
import type { TaskFailure, TaskRun } from '../records/contract.ts';
import type { ServedStep, ServedWorkflow } from '../workflows/status.ts';
import { wireDate } from './dates.ts';
import type { WireRun, WireStep, WireWorkflow } from './shapes.ts';

/** @param lock_seconds a resume that nobody took up in this time may be asked for again: the UI looks at the lock for that */
export function toWire(workflow: ServedWorkflow, lock_seconds: number): WireWorkflow {
  return {
    id: workflow.id,
    name: workflow.name,
    app_id: workflow.app_id,
    description: workflow.description,
    created_at: wireDate(workflow.created_at),
    updated_at: wireDate(workflow.updated_at),
    status: workflow.status,
    steps_done: workflow.steps_done,
    total_steps: workflow.total_steps,
    steps: workflow.steps.map(stepToWire),
    resume_lock: isLocked(workflow, lock_seconds) ? wireDate(workflow.resume_lock) : null,
  };
}

export const isLocked = (
  { resume_lock }: Pick<ServedWorkflow, 'resume_lock'>,
  lock_seconds: number,
): boolean => resume_lock != null && !(Date.now() - Date.parse(resume_lock) >= lock_seconds * 1000);

function stepToWire({ name, task, status, last_task_run, prev_task_runs }: ServedStep): WireStep {
  return {
    name,
    task,
    status,
    ...(last_task_run === undefined
      ? {}
      : { last_task_run: last_task_run === null ? null : runToWire(last_task_run) }),
    ...(prev_task_runs === undefined ? {} : { prev_task_runs: prev_task_runs.map(runToWire) }),
  };
}

function runToWire(run: TaskRun): WireRun {
  return {
    _id: run._id,
    status: run.status,
    result: resultOf(run),
    traceback: run.traceback,
    children: run.children,
    date_done: wireDate(run.date_done),
    name: run.name,
    args: run.args,
    kwargs: run.kwargs,
    worker: run.worker,
    retries: run.retries,
    queue: run.queue,
    ...(run.parent_id === null ? {} : { parent_id: run.parent_id }),
    date_start: wireDate(run.date_start),
  };
}

/**
 * What the reference writes where no rate is known yet, in place of infinity. Its pages show nothing then; of null they make
 * zero, and say "a few seconds remaining" for as long as the first inspection of a dataset takes.
 */
const NOBODY_KNOWS = 1e100;

/** A failure without the fields that only Longshore has: what to do about it stands in its own commands and pages. */
function resultOf({ status, result }: TaskRun): unknown {
  if (status === 'STARTED')
    return isWithoutEnd(result) ? { ...result, time_remaining_sec: NOBODY_KNOWS } : result;
  if (status !== 'FAILURE' && status !== 'RETRY' && status !== 'REVOKED') return result;
  if (!isFailure(result)) return result;
  const { exc_type, exc_message, exc_module } = result;
  return { exc_type, exc_message, exc_module };
}

const isWithoutEnd = (result: unknown): result is { time_remaining_sec: null } =>
  typeof result === 'object' &&
  result !== null &&
  'time_remaining_sec' in result &&
  result.time_remaining_sec === null;

const isFailure = (result: unknown): result is TaskFailure =>
  typeof result === 'object' && result !== null && 'exc_type' in result;

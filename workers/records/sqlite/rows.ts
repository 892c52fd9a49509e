/** Rows of workflows, steps, runs and attempts, and the records they stand for. */
import { fromJson, fromJsonOrNull } from '../../sqlite/values.ts';
import type { Attempt, TaskRun, WorkflowDocument, WorkflowStep } from '../contract.ts';

export interface WorkflowRow {
  number: number;
  id: string;
  name: string;
  app_id: string;
  description: string | null;
  dataset_id: number | null;
  args: string;
  start_kwargs: string;
  status: WorkflowDocument['_status'];
  resume_lock: string | null;
  revoked_at: string | null;
  initiator: string;
  created_at: string;
  updated_at: string | null;
}

export interface StepRow {
  workflow_id: string;
  position: number;
  name: string;
  task: string;
  queue: string;
  kwargs: string;
  priority: number;
  needs: string | null;
  next_task_id: string;
  args: string | null;
}

export interface RunRow {
  number: number;
  task_id: string;
  workflow_id: string;
  position: number;
  step: string;
  name: string;
  status: TaskRun['status'];
  result: string | null;
  traceback: string | null;
  date_start: string;
  date_done: string | null;
  args: string;
  kwargs: string;
  worker: string;
  retries: number;
  losses: number;
  blame: number;
  queue: string;
}

export type AttemptRow = Omit<Attempt, 'error' | 'code'> & { error: string | null; code: string | null };

export function stepOf(row: StepRow, runs: WorkflowStep['task_runs']): WorkflowStep {
  return {
    name: row.name,
    task: row.task,
    queue: row.queue,
    kwargs: fromJson(row.kwargs),
    priority: row.priority,
    ...(row.needs === null ? {} : { needs: fromJson<string[]>(row.needs) }),
    task_runs: runs,
    next_task_id: row.next_task_id,
    ...(row.args === null ? {} : { args: fromJson<unknown[]>(row.args) }),
  };
}

export function workflowOf(row: WorkflowRow, steps: WorkflowStep[]): WorkflowDocument {
  return {
    id: row.id,
    name: row.name,
    app_id: row.app_id,
    description: row.description,
    dataset_id: row.dataset_id,
    args: fromJson(row.args),
    start_kwargs: fromJson(row.start_kwargs),
    steps,
    _status: row.status,
    resume_lock: row.resume_lock,
    revoked_at: row.revoked_at,
    initiator: row.initiator,
    created_at: row.created_at,
    updated_at: row.updated_at,
  };
}

export function runOf(row: RunRow): TaskRun {
  return {
    _id: row.task_id,
    workflow_id: row.workflow_id,
    step: row.step,
    status: row.status,
    result: fromJsonOrNull(row.result),
    traceback: row.traceback,
    children: [],
    date_start: row.date_start,
    date_done: row.date_done,
    name: row.name,
    args: fromJson(row.args),
    kwargs: fromJson(row.kwargs),
    worker: row.worker,
    retries: row.retries,
    losses: row.losses,
    queue: row.queue,
    parent_id: null,
  };
}

export function attemptOf(row: AttemptRow): Attempt {
  return { ...row, error: fromJsonOrNull(row.error), code: fromJsonOrNull(row.code) };
}

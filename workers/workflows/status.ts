import type {
  TaskRun,
  TaskStatus,
  WorkflowDocument,
  WorkflowStatus,
  WorkflowWithRuns,
} from '../records/contract.ts';

/**
 * What a workflow's status is, read from the last run of each step. P is the first step that has not succeeded:
 *
 * | P                                              | status  |
 * | ---------------------------------------------- | ------- |
 * | none                                           | SUCCESS |
 * | step 0, PENDING                                | PENDING |
 * | STARTED, RETRY, or PENDING at a later position | STARTED |
 * | FAILURE                                        | FAILURE |
 * | REVOKED                                        | REVOKED |
 */
export function deriveStatus(steps: readonly (TaskStatus | null)[]): {
  status: WorkflowStatus;
  /** Position of P, or the number of steps. */
  steps_done: number;
} {
  const pending = steps.findIndex((status) => status !== 'SUCCESS');
  if (pending === -1) return { status: 'SUCCESS', steps_done: steps.length };
  const status = steps[pending] ?? 'PENDING';
  return { status: workflowStatus(status, pending), steps_done: pending };
}

function workflowStatus(status: TaskStatus, position: number): WorkflowStatus {
  if (status === 'FAILURE' || status === 'REVOKED') return status;
  return status === 'PENDING' && position === 0 ? 'PENDING' : 'STARTED';
}

/**
 * The position that ought to be in the queue now, or null when the workflow is finished, failed or stopped, or nobody knows
 * what its first step is to be given, or in which queue. A resume gives the pending step a new task id, so a failed run under the old one no
 * longer holds it back.
 */
export function runnablePosition(workflow: WorkflowWithRuns): number | null {
  const position = workflow.last_runs.findIndex((run) => run?.status !== 'SUCCESS');
  if (position === -1) return null;
  const run = workflow.last_runs[position] ?? null;
  const step = workflow.workflow.steps[position];
  if (workflow.workflow.steps.slice(position).some(({ queue }) => queue === '')) return null;
  if (position === 0 && run === null && step?.args === undefined && workflow.workflow.args === null)
    return null;
  const stopped = run?.status === 'FAILURE' || run?.status === 'REVOKED';
  return stopped && run._id === step?.next_task_id ? null : position;
}

/** A step as it is served; `queue` and `kwargs` stay inside. */
export interface ServedStep {
  name: string;
  task: string;
  status: TaskStatus;
  last_task_run?: TaskRun | null;
  prev_task_runs?: TaskRun[];
}

/** A workflow as the reference's readers expect it. */
export interface ServedWorkflow {
  id: string;
  name: string | null;
  app_id: string | null;
  description: string | null;
  created_at: string | null;
  updated_at: string | null;
  status: WorkflowStatus;
  steps_done: number;
  total_steps: number;
  steps: ServedStep[];
  resume_lock: string | null;
  /** Not in the reference. */
  dataset_id: number | null;
  initiator: string;
}

export function toServed(
  { workflow, last_runs, prev_runs }: WorkflowWithRuns,
  options: { last_task_run?: boolean } = {},
): ServedWorkflow {
  const derived = deriveStatus(workflow.steps.map((_, index) => last_runs[index]?.status ?? null));
  const steps = workflow.steps.map((step, index): ServedStep => {
    const last = last_runs[index] ?? null;
    return {
      name: step.name,
      task: step.task,
      status: last?.status ?? 'PENDING',
      ...(options.last_task_run === false ? {} : { last_task_run: last }),
      ...(prev_runs === undefined ? {} : { prev_task_runs: prev_runs[index] ?? [] }),
    };
  });
  return { ...headOf(workflow), ...derived, total_steps: steps.length, steps };
}

function headOf(workflow: WorkflowDocument) {
  const { id, name, app_id, description, created_at, updated_at, resume_lock, dataset_id, initiator } =
    workflow;
  return { id, name, app_id, description, created_at, updated_at, resume_lock, dataset_id, initiator };
}

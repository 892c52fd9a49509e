/**
 * What a Bioloop's pages make of a workflow: field by field as its components read it, seen in a browser beside this
 * gateway. They guard against little, so that a null in the wrong place is shown as a figure.
 */
import type { WireStep, WireWorkflow } from '../../workers/gateway/shapes.ts';

const DONE = ['REVOKED', 'FAILURE', 'SUCCESS'];

/** Of a result the pages know by its keys alone whether it is progress or a failure. */
interface Result {
  fraction_done?: number;
  time_remaining_sec?: number;
  exc_type?: string;
  exc_message?: unknown;
}
const resultOf = (step: WireStep | undefined): Result | null | undefined =>
  step?.last_task_run?.result as Result | null | undefined;

/** Milliseconds that are put into words; null: nothing is shown. Of null they make zero, and "a few seconds". */
function remaining(result: Result): number | null {
  const milliseconds = (result.time_remaining_sec as number) * 1000;
  return Number.isNaN(milliseconds) || milliseconds >= 1e100 ? null : milliseconds;
}

function duration(step: WireStep): number | null {
  const run = step.last_task_run;
  if (run?.date_start == null || (run.status !== 'STARTED' && run.date_done === null)) return null;
  const end = run.status === 'STARTED' ? new Date() : new Date(run.date_done ?? '');
  return end.getTime() - new Date(run.date_start).getTime();
}

/** A row of the table of steps, on the page of a dataset and on that of all workflows. */
export function stepRow(step: WireStep) {
  const result = resultOf(step);
  const progress = step.status === 'STARTED' && result ? result : null;
  return {
    name: step.name,
    status: step.status,
    retries: step.last_task_run?.retries || null,
    percent: progress?.fraction_done ? Math.round(progress.fraction_done * 100) : null,
    remaining: progress === null ? null : remaining(progress),
    start: step.last_task_run?.date_start ? new Date(step.last_task_run.date_start).getTime() : null,
    duration: duration(step),
  };
}

/** The line of a workflow above its steps. */
export function headOf(workflow: WireWorkflow) {
  const done = DONE.includes(workflow.status);
  const end = done ? new Date(workflow.updated_at ?? Number.NaN) : new Date();
  return {
    name: workflow.name,
    // By what its first step was called with: the link is missing until that has begun.
    dataset: workflow.steps[0]?.last_task_run?.args[0],
    circle:
      workflow.steps_done === workflow.total_steps
        ? null
        : `${workflow.steps_done} / ${workflow.total_steps}`,
    elapsed: end.getTime() - new Date(workflow.created_at ?? Number.NaN).getTime(),
  };
}

/** The box below the steps of one that has failed; its title is also the failure mode that the list is filtered by. */
export function failureOf(workflow: WireWorkflow) {
  if (workflow.status !== 'FAILURE') return null;
  const failed = workflow.steps.find(({ status }) => status === 'FAILURE');
  const result = resultOf(failed);
  return {
    title: result?.exc_type,
    items: result?.exc_message,
    traceback: failed?.last_task_run?.traceback,
  };
}

export function buttonsOf(workflow: WireWorkflow): string[] {
  if (workflow.status === 'SUCCESS') return ['Delete'];
  if (!DONE.includes(workflow.status)) return ['Stop', 'Delete'];
  return [...(workflow.resume_lock ? [] : ['Resume']), 'Delete'];
}

/** A line of the active tasks on the first page; null: it is left out. */
export function activeTask(workflow: WireWorkflow) {
  const step = workflow.steps[workflow.steps_done];
  const run = step?.last_task_run;
  if (!step || !run) return null;
  const result = (run.result ?? {}) as Result;
  return {
    step: `${step.name} #${workflow.steps_done + 1}`,
    task: run._id,
    dataset: run.args[0],
    worker: run.worker,
    queue: run.queue,
    started: new Date(run.date_start ?? Number.NaN).getTime(),
    percent: result.fraction_done == null ? null : Math.floor(result.fraction_done * 100),
    remaining: remaining(result),
  };
}

/** What keeps a button of a dataset from being pressed twice: any step of that name that is not over. */
export const isPending = (name: string, workflows: readonly WireWorkflow[]): boolean =>
  workflows
    .filter(({ status }) => !DONE.includes(status))
    .flatMap(({ steps }) => steps)
    .some((step) => step.name.toLowerCase() === name.toLowerCase() && !DONE.includes(step.status));

/** The groups beside the list, which the pages add up themselves. */
export const groupsOf = (counts: Readonly<Record<string, number>>) => ({
  ACTIVE: (counts.PENDING as number) + (counts.STARTED as number),
  DONE: (counts.SUCCESS as number) + (counts.FAILURE as number) + (counts.REVOKED as number),
  EXCEPTION: (counts.FAILURE as number) + (counts.REVOKED as number),
});

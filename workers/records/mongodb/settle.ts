/**
 * The runs decide; the workflow's own document is brought up to date after each decision, and again by the next one who
 * comes by if that did not happen: which runs there are, the cached status, the lock of a resume that was taken up.
 *
 * Of two that settle at once the later one reads the runs after both decisions, and the earlier one finds its revision
 * gone and reads again; so what stays is never older than the runs.
 */
import { change, read } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { deliver } from '../../mongodb/outbox.ts';
import { nextTaskIdOf, type StepDocument, WORKFLOWS, type WorkflowRecord } from './documents.ts';
import { assertReadable } from './readable.ts';
import {
  derivedStatus,
  lastRunOf,
  loadRuns,
  pendingPosition,
  type Runs,
  runsOf,
  runsOfStep,
} from './runs.ts';

export const workflowsOf = (mongo: Mongo) => mongo.collection<WorkflowRecord>(WORKFLOWS);

/** One that is being deleted is gone. @throws E_WORKFLOW_UNREADABLE */
export async function readWorkflow(mongo: Mongo, id: string): Promise<WorkflowRecord | null> {
  const found = await read(mongo, workflowsOf(mongo), id);
  if (found === null || found.deleting === true) return null;
  assertReadable(found);
  return found;
}

/** Answers the workflow as it is then; null when there is none. */
export function settle(mongo: Mongo, id: string): Promise<WorkflowRecord | null> {
  return change<WorkflowRecord, WorkflowRecord | null>(mongo, workflowsOf(mongo), id, async (workflow) => {
    if (workflow === null || workflow.deleting === true) return { answer: null };
    assertReadable(workflow);
    const runs = await loadRuns(mongo, [workflow]);
    // Before the status: a workflow that is live is looked at again, and one that is done must have its followers.
    await deliverAll(mongo, workflow, runs);
    const set = settled(workflow, runs);
    if (set === null) return { answer: workflow };
    return { answer: { ...workflow, ...set }, set: { ...set, updated_at: new Date() } };
  });
}

export async function deliverAll(mongo: Mongo, workflow: WorkflowRecord, runs: Runs): Promise<void> {
  await deliver(mongo, workflowsOf(mongo), workflow);
  for (const run of runs.values()) await deliver(mongo, runsOf(mongo), run);
}

/** What has to be changed so that the document agrees with the runs; null for nothing. */
export function settled(workflow: WorkflowRecord, runs: Runs): Partial<WorkflowRecord> | null {
  const set: Partial<WorkflowRecord> = {};
  const steps = withRuns(workflow, runs);
  if (steps.some((step, position) => step !== workflow.steps[position])) set.steps = steps;
  const status = derivedStatus(workflow, runs);
  if (workflow._status !== status) set._status = status;
  const pending = pendingPosition(workflow, runs);
  const position = pending === -1 ? workflow.steps.length - 1 : pending;
  const last = lastRunOf(workflow, position, runs);
  const isNext = last !== undefined && last._id === nextTaskIdOf(workflow, position);
  // A run that the reference ended and nobody took up here is older than the lock of the resume.
  if (isNext && last.attempt !== undefined && (workflow.resume_lock ?? null) !== null) set.resume_lock = null;
  if (isNext && last.status === 'REVOKED' && last.taken_out && !workflow.revoked_at)
    set.revoked_at = last.taken_out;
  return Object.keys(set).length === 0 ? null : set;
}

/** Steps with all runs that there are. */
export const withRuns = (workflow: WorkflowRecord, runs: Runs): StepDocument[] =>
  workflow.steps.map((step, position) => {
    const known = step.task_runs ?? [];
    const missing = runsOfStep(workflow, position, runs).filter(
      ({ _id }) => !known.some(({ task_id }) => task_id === _id),
    );
    if (missing.length === 0) return step;
    const added = missing.map(({ _id, date_start = new Date() }) => ({ task_id: _id, date_start }));
    return { ...step, task_runs: [...known, ...added] };
  });

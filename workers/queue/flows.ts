import type { FlowJob, JobsOptions } from 'bullmq';
import { LongshoreError } from '../errors.ts';
import type { WorkflowDocument } from '../records/contract.ts';

/** All that a job carries: the queue holds ids, never data. */
export interface JobData {
  workflow_id: string;
  /** 0-based position of the step. */
  index: number;
}

export const jobId = (workflow_id: string, index: number): string => `${workflow_id}.${index}`;

/** Never used: every step has a priority. Behind all others rather than before them. */
const LAST = 2 ** 21 - 1;

/**
 * How every job is queued.
 *
 * - `attempts: 1`: BullMQ never repeats a job on its own; retries are decided by error class and counted in the
 *   records, and wait as delayed jobs, so that a worker that dies cannot lose the count.
 * - `removeOnComplete`: what happened is in the records; a finished job would only take memory.
 * - `removeOnFail: false`: a failed child that is removed releases its parent, and the next step would run.
 *   It stays, holding its successors back, until a resume retries it or a revoke takes the chain out.
 */
function jobOptions(workflow: WorkflowDocument, index: number, priority: number): JobsOptions {
  return {
    jobId: jobId(workflow.id, index),
    priority,
    attempts: 1,
    removeOnComplete: true,
    removeOnFail: false,
  };
}

/** The steps from `first` on as one flow: the last step is the root, and each step waits for the one before it. */
export function chainOf(
  workflow: WorkflowDocument,
  first: number,
  priorities: ReadonlyMap<number, number>,
): FlowJob {
  const jobs = [...workflow.steps.entries()].slice(first).map(
    ([index, step]): FlowJob => ({
      name: step.task,
      queueName: step.queue,
      data: { workflow_id: workflow.id, index } satisfies JobData,
      opts: jobOptions(workflow, index, priorities.get(index) ?? LAST),
    }),
  );
  const [start, ...rest] = jobs;
  if (start === undefined) {
    throw new LongshoreError(
      'E_WORKFLOW_STATE',
      `workflow ${workflow.id} has ${workflow.steps.length} steps; there is none at position ${first}`,
    );
  }
  return rest.reduce((child, parent) => ({ ...parent, children: [child] }), start);
}

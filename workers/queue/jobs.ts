import type { JobsOptions } from 'bullmq';
import type { WorkflowDocument } from '../records/contract.ts';

/** All that a job carries: the queue holds ids, never data. */
export interface JobData {
  workflow_id: string;
  /** 0-based position of the step. */
  index: number;
  /**
   * Priorities in the queue of the steps after it, whose turns were taken with its own. Absent: a turn is taken when the
   * step is put in.
   */
  next?: number[];
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
 * - `removeOnFail: false`: it stays for who looks at the queue, until a resume retries it or a revoke takes it out.
 */
export const jobOptions = ({ workflow_id, index }: JobData, priority: number) =>
  ({
    jobId: jobId(workflow_id, index),
    priority,
    attempts: 1,
    removeOnComplete: true,
    removeOnFail: false,
  }) satisfies JobsOptions;

/** The job of one step. `priorities` by position, of that step and those after it. */
export function jobOf(
  workflow: WorkflowDocument,
  position: number,
  priorities: ReadonlyMap<number, number>,
): { name: string; data: JobData; opts: ReturnType<typeof jobOptions> } {
  const at = (index: number): number => priorities.get(index) ?? LAST;
  const next = [...workflow.steps.keys()].slice(position + 1).map(at);
  const data: JobData = {
    workflow_id: workflow.id,
    index: position,
    ...(next.length === 0 ? {} : { next }),
  };
  return { name: workflow.steps[position]?.task ?? '', data, opts: jobOptions(data, at(position)) };
}

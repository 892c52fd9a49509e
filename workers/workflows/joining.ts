/** Whether a workflow that is asked for need not be started, because one that is at work brings the same. */
import type { WorkflowDocument, WorkflowStep } from '../records/contract.ts';

/** Reads a whole bundle back, perhaps from tape: the one kind of work that two people may wait for together. */
const RECALL = 'stage_dataset';

/**
 * True when `running` reads the bundle back and does all else that `asked` would do, in the same order and in the same
 * way. Only a recall is shared: whoever asks for another deletion or another QC means it.
 */
export function brings(running: WorkflowDocument, asked: WorkflowDocument): boolean {
  if (running.app_id !== asked.app_id || running.dataset_id !== asked.dataset_id) return false;
  if (!asked.steps.some(({ task }) => task === RECALL)) return false;
  // Arguments of a start say how, and would be lost.
  if (Object.keys(asked.start_kwargs).length > 0 || !sameValue(asked.args, [asked.dataset_id])) return false;
  let next = 0;
  for (const step of running.steps) {
    const wanted = asked.steps[next];
    if (wanted !== undefined && sameWork(step, wanted)) next += 1;
  }
  return next === asked.steps.length;
}

const sameWork = (one: WorkflowStep, other: WorkflowStep): boolean =>
  one.task === other.task && one.queue === other.queue && sameValue(one.kwargs, other.kwargs);

/** Both were read from JSON or stand in a configuration: one order of keys. */
const sameValue = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);

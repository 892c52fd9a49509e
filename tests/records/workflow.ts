import { randomUUID } from 'node:crypto';
import type { WorkflowDocument, WorkflowStep } from '../../workers/records/contract.ts';

/** A workflow of three steps as it is when it has just been made. Free of vitest: other processes use it too. */
export function makeWorkflow(
  given: Partial<Omit<WorkflowDocument, 'steps'>> & {
    steps?: (Partial<WorkflowStep> & { name: string })[];
  } = {},
): WorkflowDocument {
  const steps = given.steps ?? [{ name: 'first' }, { name: 'second' }, { name: 'third' }];
  return {
    id: randomUUID(),
    name: 'integrated',
    app_id: 'longshore-test',
    description: null,
    dataset_id: 7,
    args: [7],
    start_kwargs: {},
    _status: 'PENDING',
    resume_lock: null,
    revoked_at: null,
    initiator: 'tester',
    created_at: new Date().toISOString(),
    updated_at: null,
    ...given,
    steps: steps.map((step, index) => ({
      task: `task_of_${step.name}`,
      queue: 'test.q',
      kwargs: {},
      priority: index + 1,
      task_runs: [],
      next_task_id: randomUUID(),
      ...step,
    })),
  };
}

import type { WorkflowDocument } from './contract.ts';
import { type WorkflowRecord, workflowOf } from './mongodb-documents.ts';

/**
 * Without those that are no workflows, whoever wrote them: one must not hide the others of its page, nor stop the look at
 * what is missing in the queue. The reference's server leaves them out, too; they count in totals.
 */
export async function readable(records: readonly WorkflowRecord[]): Promise<WorkflowRecord[]> {
  const whole: WorkflowRecord[] = [];
  for (const record of records) {
    try {
      check(workflowOf(record));
      whole.push(record);
    } catch (error) {
      await tell(record, error);
    }
  }
  return whole;
}

function check({ steps }: WorkflowDocument): void {
  const texts = steps.flatMap(({ name, task, task_runs }) => [
    name,
    task,
    ...task_runs.map(({ task_id }) => task_id),
  ]);
  if (!texts.every((text) => typeof text === 'string'))
    throw new TypeError('a step has no name, no task, or a run without an id');
}

/** Loaded where it is wanted: it costs every process of a task 15 ms. On stderr, as stdout may be what a command answers. */
async function tell({ _id }: WorkflowRecord, err: unknown): Promise<void> {
  const { createLogger } = await import('../log.ts');
  createLogger('records', {}, { to: 2 }).error(
    { workflow_id: _id, err },
    'a document of workflow_meta is no workflow; it was left out',
  );
}

/** Says that it ran, and does nothing else. */
import { appendFileSync } from 'node:fs';
import { defineTask } from '../../../workers/tasks/contract.ts';

export const task = defineTask({
  description: 'Does nothing, and leaves a line about it.',
  run: async ({ dataset_id, run, kwargs }) => {
    appendFileSync(kwargs.journal as string, `${run.task_id}\n`);
    return [dataset_id];
  },
});

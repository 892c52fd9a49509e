import { defineTask } from '../../workers/tasks/contract.ts';

export const task = defineTask({
  description: 'Does nothing, to measure the rest.',
  run: async ({ dataset_id }) => [dataset_id],
});

/** Says which process runs it, and works until it is told to go on: a fault has a place to strike. */
import { appendFileSync, existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { defineTask } from '../../../workers/tasks/contract.ts';

export const task = defineTask({
  description: 'Waits for a drill.',
  run: async ({ kwargs, signal, dataset_id }) => {
    const { journal, go } = kwargs as { journal: string; go: string };
    appendFileSync(journal, `${process.pid} ${process.ppid}\n`);
    while (!existsSync(go)) {
      signal.throwIfAborted();
      await sleep(20);
    }
    return [dataset_id];
  },
});

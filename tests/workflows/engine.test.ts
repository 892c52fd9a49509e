import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { CancelOrder } from '../../workers/queue/control.ts';
import type { QueueSide } from '../../workers/queue/side.ts';
import { openStore } from '../../workers/store.ts';
import { createEngine } from '../../workers/workflows/engine.ts';
import { begin } from '../records/fixture.ts';
import { makeWorkflow } from '../records/workflow.ts';
import { makePlace } from '../support/place.ts';

test('a resume by force ends the process of the attempt that it takes the step from, before the step is queued', async () => {
  const { config } = await makePlace();
  const store = await openStore(config);
  onTestFinished(() => store.close());
  const told: string[] = [];
  const queue_side = {
    control: {
      cancel: async ({ task_id, number, worker, reason }: CancelOrder) => {
        told.push(`${worker}: ${task_id} ${number} ${reason}`);
        return 'stopped';
      },
    },
    chains: {
      ensure: async () => {
        told.push('queued');
        return 'present';
      },
      hurry: async () => void told.push('hurried'),
    },
  } as unknown as QueueSide;
  const log = createLogger('test', {}, { level: 'fatal' });
  const engine = await createEngine({ config, store, log, queue_side });
  const workflow = makeWorkflow({ app_id: config.app_id });
  await store.records.createWorkflow(workflow);
  const { key } = await begin(store.records, workflow);
  expect(await engine.resume(workflow.id, { actor: 'ana', force: true })).toMatchObject({ resumed: true });
  expect(told).toEqual([`w1: ${key.task_id} ${key.number} resumed by force`, 'queued', 'hurried']);
  // Nothing to resume: nobody is told anything.
  told.length = 0;
  expect(await engine.resume(workflow.id, { actor: 'ana' })).toMatchObject({ resumed: false });
  expect(told).toEqual([]);
});

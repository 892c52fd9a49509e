/** A task that is mistyped in a workflow's definition is told before a step meets it. */
import { expect, test } from 'vitest';
import { missingTasks } from '../../workers/fleet/missing-tasks.ts';
import { openStore } from '../../workers/store.ts';
import { doctor } from '../support/doctor.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';
import { startWorker } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const MISTYPED = {
  workflow_registry: {
    survey: {
      steps: [
        { name: 'look', task: 'inspect_dataset' },
        { name: 'pack', task: 'archive_datset' },
      ],
    },
  },
};
const SAID =
  'workflow_registry.survey.steps.1: there is no task "archive_datset" (did you mean "archive_dataset"?)';

test('of steps whose queue only other hosts serve it cannot be known', async () => {
  const steps = [
    { name: 'here', task: 'nothing_like_it', queue: 'mine' },
    { name: 'there', task: 'theirs', queue: 'other' },
  ];
  const { config } = await makePlace({
    workers: { worker: { queues: ['mine'] } },
    workflow_registry: { w: { steps } },
  });
  expect(missingTasks(config)).toMatchObject([
    { key: 'workflow_registry.w.steps.0', task: 'nothing_like_it', meant: null },
  ]);
  expect(missingTasks(config, ['integrated'])).toEqual([]);
});

test('`start` refuses the workflow and names what was meant; nothing is begun', async () => {
  const place = await makePlace(MISTYPED);
  const store = await openStore(place.config);
  await store.catalog.register(
    [{ dataset: { name: 'run_17', type: 'RAW_DATA', origin_path: '/x', create_method: 'TEST' } }],
    'test',
  );
  const started = await runScript('longshore.ts', ['start', 'survey', 'run_17'], place.env);
  expect(started).toMatchObject({ code: 2, stderr: expect.stringContaining(SAID) });
  expect(await runScript('enqueue-test.ts', ['--workflow', 'survey'], place.env)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(SAID),
  });
  expect((await store.records.listWorkflows({})).total).toBe(0);
  await store.close();
});

test('config, doctor and the log of a worker that starts tell it', async () => {
  const place = await makePlace(MISTYPED);
  const shown = await runScript('config.ts', ['workflow_registry'], place.env);
  expect(shown).toMatchObject({ code: 0, stderr: expect.stringContaining(SAID) });
  const { of } = await doctor(place, ['--only', 'tools']);
  expect(of('tools.task', 'workflow_registry.survey.steps.1')).toMatchObject({
    level: 'problem',
    seen: expect.stringContaining('did you mean "archive_dataset"?'),
  });
  const worker = startWorker(place, 0, {});
  await until(() => worker.log().includes(JSON.stringify(SAID).slice(1, -1)), { what: 'it to be logged' });
  worker.kill('SIGTERM');
  await worker.exited;
});

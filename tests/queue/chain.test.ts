import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { queuePriority } from '../../workers/queue/fair-share.ts';
import { jobId } from '../../workers/queue/flows.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { makePlace } from '../support/place.ts';

async function makeChains(steps = 3) {
  const { config } = await makePlace();
  const side = await openQueueSide(config, { log: createLogger('test'), wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const definition = {
    name: 'w',
    steps: Array.from({ length: steps }, (_, index) => ({ name: `s${index}`, task: 'drill' })),
  };
  const workflow = buildWorkflow(config, definition, { dataset_id: 1, initiator: 'test' });
  const queue = side.queues.get('longshore-test.q');
  const states = () =>
    Promise.all(workflow.steps.map((_, index) => queue.getJobState(jobId(workflow.id, index))));
  const suspect = async (position: number) => (await side.chains.suspects([{ workflow, position }]))[0];
  return { ...side, workflow, queue, states, suspect };
}

test('a chain holds only ids, and each step waits for the one before it', async () => {
  const { chains, workflow, queue, states } = await makeChains();
  expect(await chains.ensure(workflow, 0)).toBe('added');
  expect(await states()).toEqual(['prioritized', 'waiting-children', 'waiting-children']);
  const job = await queue.getJob(jobId(workflow.id, 1));
  expect(job?.data).toEqual({ workflow_id: workflow.id, index: 1 });
  expect(job?.opts).toMatchObject({
    priority: queuePriority(2, 0),
    attempts: 1,
    removeOnComplete: true,
    removeOnFail: false,
  });
});

test('ensuring again, also many times at once, changes nothing', async () => {
  const { chains, workflow, states, queue } = await makeChains();
  const answers = await Promise.all(Array.from({ length: 20 }, () => chains.ensure(workflow, 0)));
  expect(answers.filter((answer) => answer === 'added')).toHaveLength(1);
  expect(await states()).toEqual(['prioritized', 'waiting-children', 'waiting-children']);
  expect(await queue.getJobCounts('prioritized', 'waiting-children')).toEqual({
    prioritized: 1,
    'waiting-children': 2,
  });
});

test('a chain that is missing from its second step on is put in from there', async () => {
  const { chains, workflow, states, suspect } = await makeChains();
  expect(await suspect(1)).toBe(true);
  expect(await chains.ensure(workflow, 1)).toBe('added');
  expect(await states()).toEqual(['unknown', 'prioritized', 'waiting-children']);
  expect(await suspect(1)).toBe(false);
});

test('a step that waits for a predecessor that the queue has lost is found and freed', async () => {
  const { chains, workflow, queue, redis, states, suspect } = await makeChains();
  await chains.ensure(workflow, 0);
  const first = jobId(workflow.id, 0);
  await redis.del(queue.toKey(first));
  await redis.zrem(queue.toKey('prioritized'), first);
  expect((await states())[1]).toBe('waiting-children');
  expect(await suspect(1)).toBe(true);
  expect(await chains.ensure(workflow, 1)).toBe('added');
  expect((await states()).slice(1)).toEqual(['prioritized', 'waiting-children']);
});

test('removing takes out every job and releases none of them to run', async () => {
  const { chains, workflow, queue, states } = await makeChains(6);
  await chains.ensure(workflow, 0);
  expect(await chains.remove(workflow)).toBe(true);
  expect(new Set(await states())).toEqual(new Set(['unknown']));
  expect(Object.values(await queue.getJobCounts()).every((count) => count === 0)).toBe(true);
  expect(await chains.remove(workflow)).toBe(true);
});

test('the chain of a workflow that nobody recorded is found by its links', async () => {
  const { chains, workflow, queue } = await makeChains(4);
  await chains.ensure(workflow, 0);
  const job = await queue.getJob(jobId(workflow.id, 0));
  if (job !== undefined) await chains.removeUnrecorded(job);
  expect(Object.values(await queue.getJobCounts()).every((count) => count === 0)).toBe(true);
});

test('a step that ended while its turn was waited for is not put in again; the chain goes on where it is', async () => {
  const { chains, workflow, states } = await makeChains();
  // Pending when it is first looked at, done when its job turns out to be missing.
  const seen = [0, 1, 1];
  const look = async () => ({ workflow, position: seen.shift() ?? 1 });
  expect(await chains.ensure(workflow, 0, look)).toBe('added');
  expect(await states()).toEqual(['unknown', 'prioritized', 'waiting-children']);
  expect(await chains.ensure(workflow, 0, async () => null)).toBe('not runnable');
});

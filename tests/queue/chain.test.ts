import { type Job, Worker } from 'bullmq';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { queuePriority } from '../../workers/queue/fair-share.ts';
import { jobId } from '../../workers/queue/jobs.ts';
import type { JobQueue } from '../../workers/queue/queues.ts';
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

function workerOf({ name, opts: { connection, prefix } }: JobQueue): Worker {
  const worker = new Worker(name, null, { connection, prefix });
  onTestFinished(() => worker.close());
  return worker;
}

test('only the step that runs next is in the queue, by its ids and the turns of those after it', async () => {
  const { chains, workflow, queue, states } = await makeChains();
  expect(await chains.ensure(workflow, 0)).toBe('added');
  expect(await states()).toEqual(['prioritized', 'unknown', 'unknown']);
  const job = await queue.getJob(jobId(workflow.id, 0));
  expect(job?.data).toEqual({
    workflow_id: workflow.id,
    index: 0,
    next: [queuePriority(2, 0), queuePriority(3, 0)],
  });
  expect(job?.opts).toMatchObject({
    priority: queuePriority(1, 0),
    attempts: 1,
    removeOnComplete: true,
    removeOnFail: false,
  });
});

test('ensuring again, also many times at once, changes nothing', async () => {
  const { chains, workflow, states, queue } = await makeChains();
  const answers = await Promise.all(Array.from({ length: 20 }, () => chains.ensure(workflow, 0)));
  expect(answers.filter((answer) => answer === 'added')).toHaveLength(1);
  expect(await states()).toEqual(['prioritized', 'unknown', 'unknown']);
  expect(await queue.getJobCounts('prioritized')).toEqual({ prioritized: 1 });
});

test('a workflow that is missing in the queue is found, and put in where it stands', async () => {
  const { chains, workflow, states, suspect } = await makeChains();
  expect(await suspect(1)).toBe(true);
  expect(await chains.ensure(workflow, 1)).toBe('added');
  expect(await states()).toEqual(['unknown', 'prioritized', 'unknown']);
  expect(await suspect(1)).toBe(false);
});

test('a step is handed over once, however often it is tried, with the turn that was taken at the start', async () => {
  const { chains, workflow, queue, states } = await makeChains();
  await chains.begin(workflow);
  const first = await queue.getJob(jobId(workflow.id, 0));
  const step = { index: 1, task: 'drill', queue: 'longshore-test.q', priority: 2 };
  for (let tries = 0; tries < 3; tries += 1)
    expect(await chains.handOver(first?.data ?? { workflow_id: '', index: 0 }, step)).toBe(true);
  expect(await states()).toEqual(['prioritized', 'prioritized', 'unknown']);
  const second = await queue.getJob(jobId(workflow.id, 1));
  expect(second?.data).toEqual({ workflow_id: workflow.id, index: 1, next: [queuePriority(3, 0)] });
  expect(second?.priority).toBe(queuePriority(2, 0));
});

test('a step whose priority was changed meanwhile is not handed over with its old turn', async () => {
  const { chains, workflow, queue, states } = await makeChains();
  await chains.begin(workflow);
  const first = await queue.getJob(jobId(workflow.id, 0));
  const step = { index: 1, task: 'drill', queue: 'longshore-test.q', priority: 9 };
  expect(await chains.handOver(first?.data ?? { workflow_id: '', index: 0 }, step)).toBe(false);
  expect(await states()).toEqual(['prioritized', 'unknown', 'unknown']);
});

test('what failed to hand over leaves the queue when the step after it is put in', async () => {
  const { chains, workflow, queue, states } = await makeChains();
  await chains.begin(workflow);
  const worker = workerOf(queue);
  const job: Job | undefined = await worker.getNextJob('token');
  await job?.moveToFailed(new Error('Redis went away'), 'token');
  expect((await states())[0]).toBe('failed');
  expect(await chains.ensure(workflow, 1)).toBe('added');
  expect(await states()).toEqual(['unknown', 'prioritized', 'unknown']);
});

test('a job that failed is suspect and tried again, one that stands in no list is put in anew', async () => {
  const { redis, chains, workflow, queue, states, suspect } = await makeChains();
  await chains.begin(workflow);
  expect(await suspect(0)).toBe(false);
  const job: Job | undefined = await workerOf(queue).getNextJob('token');
  await job?.moveToFailed(new Error('paused'), 'token');
  expect(await suspect(0)).toBe(true);
  expect(await chains.ensure(workflow, 0)).toBe('retried');
  expect(await states()).toEqual(['prioritized', 'unknown', 'unknown']);
  await redis.zrem(queue.toKey('prioritized'), jobId(workflow.id, 0));
  expect((await states())[0]).toBe('unknown');
  expect(await chains.ensure(workflow, 0)).toBe('added');
  expect(await states()).toEqual(['prioritized', 'unknown', 'unknown']);
});

test('a job that is tried again gets a new turn, and so do the steps after it: the old ones may lie far ahead', async () => {
  const { chains, workflow, queue } = await makeChains();
  await chains.begin(workflow);
  const job: Job | undefined = await workerOf(queue).getNextJob('token');
  await job?.changePriority({ priority: queuePriority(1, 5000) });
  await job?.updateData({ ...job.data, next: [queuePriority(2, 5000), queuePriority(3, 5000)] });
  await job?.moveToFailed(new Error('paused'), 'token');
  expect(await chains.ensure(workflow, 0)).toBe('retried');
  const again = await queue.getJob(jobId(workflow.id, 0));
  expect(again?.priority).toBe(queuePriority(1, 0));
  expect(again?.data.next).toEqual([queuePriority(2, 0), queuePriority(3, 0)]);
});

test('of a workflow that is taken out only what a worker holds stays', async () => {
  const { chains, workflow, queue, states } = await makeChains();
  await chains.begin(workflow);
  const held: Job | undefined = await workerOf(queue).getNextJob('token');
  const step = { index: 1, task: 'drill', queue: 'longshore-test.q', priority: 2 };
  await chains.handOver(held?.data, step);
  expect(await states()).toEqual(['active', 'prioritized', 'unknown']);
  expect(await chains.remove(workflow)).toBe(false);
  expect(await states()).toEqual(['active', 'unknown', 'unknown']);
});

test('a job that its worker ends just when it is taken out is taken out all the same', async () => {
  const { chains } = await makeChains();
  let tries = 0;
  const job = {
    remove: async () => {
      tries += 1;
      if (tries === 1) throw new Error('could not be removed because it is locked');
    },
    isActive: async () => false,
  };
  await chains.removeUnrecorded(job as unknown as Job);
  expect(tries).toBe(2);
});

test('a job in the hands of its worker is not taken out, and that is told', async () => {
  const { chains, workflow, queue, states } = await makeChains();
  await chains.begin(workflow);
  await workerOf(queue).getNextJob('token');
  expect(await chains.remove(workflow)).toBe(false);
  expect((await states())[0]).toBe('active');
});

test('removing takes out every job and releases none of them to run', async () => {
  const { chains, workflow, queue, states } = await makeChains(6);
  await chains.ensure(workflow, 0);
  expect(await chains.remove(workflow)).toBe(true);
  expect(new Set(await states())).toEqual(new Set(['unknown']));
  expect(Object.values(await queue.getJobCounts()).every((count) => count === 0)).toBe(true);
  expect(await chains.remove(workflow)).toBe(true);
});

test('what was resumed before its turn to be taken out came stays in the queue', async () => {
  const { chains, workflow, states } = await makeChains();
  await chains.begin(workflow);
  expect(await chains.remove(workflow, async () => false)).toBe(true);
  expect((await states())[0]).toBe('prioritized');
  expect(await chains.remove(workflow, async () => true)).toBe(true);
  expect((await states())[0]).toBe('unknown');
});

test('a job that leaves the hands of its worker while it is taken out is no error, and is gone in the end', async () => {
  const { chains, workflow, queue, states } = await makeChains(1);
  const worker = workerOf(queue);
  for (let round = 0; round < 50; round += 1) {
    await chains.begin(workflow);
    const job: Job | undefined = await worker.getNextJob('token');
    await Promise.all([chains.remove(workflow), job?.moveToFailed(new Error('revoked'), 'token')]);
    // As its worker does when it has ended.
    expect(await chains.remove(workflow)).toBe(true);
    expect(await states()).toEqual(['unknown']);
  }
});

test('the job of a workflow that nobody recorded is taken out', async () => {
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
  expect(await states()).toEqual(['unknown', 'prioritized', 'unknown']);
  expect(await chains.ensure(workflow, 0, async () => null)).toBe('not runnable');
});

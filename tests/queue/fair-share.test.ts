import { Worker } from 'bullmq';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { placeOf, queuePriority } from '../../workers/queue/fair-share.ts';
import { TURNS } from '../../workers/queue/wind-back.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const QUEUE = 'longshore-test.q';

/** Workflows of projects, put in as the engine does; and a worker that takes one job at a time, in the queue's order. */
async function makeProjects(overrides: Record<string, unknown> = {}) {
  const { config } = await makePlace(overrides);
  const projects = new Map<number, string>();
  const side = await openQueueSide(config, {
    log: createLogger('test'),
    wait_seconds: 5,
    name: 'test',
    shareOf: async (id) => projects.get(id ?? -1) ?? '',
  });
  const queue = side.queues.get(QUEUE);
  onTestFinished(async () => {
    await queue.obliterate({ force: true });
    await side.close();
  });
  const names = new Map<string, string>();
  const add = async (project: string, count: number, steps = 1): Promise<void> => {
    for (let number = 0; number < count; number += 1) {
      const dataset_id = projects.size + 1;
      projects.set(dataset_id, project);
      const definition = {
        name: 'w',
        steps: Array.from({ length: steps }, (_, index) => ({ name: `s${index}`, task: 'drill' })),
      };
      const workflow = buildWorkflow(config, definition, { dataset_id, initiator: 'test' });
      names.set(workflow.id, project);
      await side.chains.ensure(workflow, 0);
    }
  };
  /** The next so many that a worker would be given: whose they are. */
  const serve = async (count: number): Promise<string> => {
    const served = [];
    for (const job of (await queue.getJobs(['prioritized'], 0, count - 1, true)).slice(0, count)) {
      side.shares.served(QUEUE, job.priority);
      served.push(names.get(job.data.workflow_id));
      await job.remove({ removeChildren: false });
    }
    return served.join('');
  };
  /** As if so many turns had been served and nothing had ever been idle. */
  const age = async (turns: number): Promise<void> => {
    const [clock] = await side.redis.keys(`${config.queue.prefix}:*:share:${QUEUE}`);
    const fields = await side.redis.hgetall(clock ?? '');
    for (const field of Object.keys(fields)) await side.redis.hincrby(clock ?? '', field, turns);
    for (const job of await queue.getJobs(['prioritized', 'delayed']))
      await job.changePriority({ priority: job.priority + turns });
  };
  return { side, queue, add, serve, age };
}

test('a project with one dataset does not wait for the thousand of another: its job is among the next few', async () => {
  const { add, serve } = await makeProjects();
  await add('A', 1000);
  expect(await serve(20)).toBe('A'.repeat(20));
  await add('B', 1);
  expect(await serve(3)).toContain('B');
});

test('projects take turns while all wait, also one that came late; it gets no more for having been away', async () => {
  const { add, serve } = await makeProjects();
  await add('A', 30);
  await add('B', 30);
  await serve(20);
  await add('C', 30);
  const shares = await serve(30);
  for (const project of 'ABC') {
    const count = shares.split(project).length - 1;
    expect(count, shares).toBeGreaterThanOrEqual(9);
    expect(count, shares).toBeLessThanOrEqual(11);
  }
});

test('without a share key it is first come, first served', async () => {
  const { add, serve } = await makeProjects({ queue: { share_by: null } });
  await add('A', 5);
  await add('B', 2);
  expect(await serve(7)).toBe('AAAAABB');
});

test('the steps of a workflow keep the order of their priorities, whatever the turn', async () => {
  const { queue, add } = await makeProjects();
  await add('A', 3, 2);
  const jobs = await queue.getJobs(['prioritized']);
  expect(jobs).toHaveLength(3);
  const later = jobs.flatMap(({ data }) => data.next ?? []);
  expect(later).toHaveLength(3);
  expect(Math.max(...later)).toBeLessThan(Math.min(...jobs.map((job) => job.priority)));
});

test('when nothing waits the clock begins again', async () => {
  const { queue, add, serve } = await makeProjects();
  await add('A', 50);
  await serve(50);
  await add('A', 1);
  const [job] = await queue.getJobs(['prioritized']);
  expect(placeOf(job?.priority ?? 0).turn).toBe(0);
});

test('a job that comes again stands behind those whose turn is now, however its old turn was', async () => {
  const { side, queue, add } = await makeProjects();
  await add('A', 1);
  const [job] = await queue.getJobs(['prioritized']);
  const { priority } = placeOf(job?.priority ?? 0);
  const again = async (turn: number): Promise<number> =>
    placeOf(await side.shares.again(QUEUE, queuePriority(priority, turn))).turn;
  // The clock goes by the latest turn that was served, in whatever order that is told.
  for (const turn of [5, 3]) side.shares.served(QUEUE, queuePriority(priority, turn));
  await until(async () => (await again(0)) > 1, { what: 'the clock to go on' });
  expect(await again(0)).toBe(6);
  expect(await again(9)).toBe(9);
  side.shares.served(QUEUE, queuePriority(priority, 4));
  side.shares.served(QUEUE, queuePriority(priority - 1, 7)); // Told after it.
  const other = queuePriority(priority - 1, 0);
  await until(async () => placeOf(await side.shares.again(QUEUE, other)).turn === 8);
  expect(await again(0)).toBe(6);
});

test.each(['put off', 'at work'])('while a job is %s the clock does not begin again', async (what) => {
  const bench = await makeProjects();
  const { queue, add, serve } = bench;
  if (what === 'put off') await holdUp(bench);
  else {
    const { connection, prefix } = queue.opts;
    const worker = new Worker(QUEUE, null, { connection, prefix });
    onTestFinished(() => worker.close());
    await add('Z', 1);
    await worker.getNextJob('token');
  }
  await add('A', 5);
  await serve(5);
  await add('A', 1);
  const [job] = await queue.getJobs(['prioritized']);
  expect(placeOf(job?.priority ?? 0).turn).toBeGreaterThanOrEqual(5);
});

/** One that is put off for ever, as a dataset that is waited for: the clock never begins again by itself. */
async function holdUp({ queue, add }: Awaited<ReturnType<typeof makeProjects>>): Promise<void> {
  await add('Z', 1);
  const [job] = await queue.getJobs(['prioritized']);
  if (job === undefined) throw new Error('nothing waits');
  await queue.add('hold', job.data, { ...job.opts, jobId: 'hold', delay: 86_400_000 });
  await job.remove();
}

test('where there is always something the shares stay fair: the clock is wound back before its end', async () => {
  const bench = await makeProjects();
  const { side, add, serve, age } = bench;
  await holdUp(bench);
  await add('A', 30);
  await serve(10);
  await age(TURNS - 31);
  expect(await serve(18)).toBe('A'.repeat(18));
  await side.shares.windBack(QUEUE);
  await add('A', 30);
  await add('B', 10);
  expect(await serve(10)).toMatch(/^(?=(.*A){4})(?=(.*B){4})/);
  await side.shares.windBack(QUEUE); // Nothing to do now.
  expect(await serve(10)).toMatch(/^(?=(.*A){4})(?=(.*B){4})/);
  expect(await serve(40)).toMatch(/^B*A{20,}$/);
});

test('only the clock that is near its end is wound back, with what waits by it', async () => {
  const bench = await makeProjects();
  const { side, queue, add, serve, age } = bench;
  await holdUp(bench);
  await add('A', 30);
  await serve(10);
  const [job] = await queue.getJobs(['prioritized']);
  const [clock = ''] = await side.redis.keys(`${queue.opts.prefix}:*:share:${QUEUE}`);
  const told = await side.redis.hgetall(clock);
  await side.shares.windBack(QUEUE);
  expect(await side.redis.hgetall(clock)).toEqual(told);
  await age(TURNS - 31);
  await queue.add('low', job?.data ?? { workflow_id: '', index: 0 }, {
    jobId: 'low',
    priority: queuePriority(0, 3),
  });
  await side.redis.hset(clock, { 'now:0': 3, 'end:0:A': 4 });
  await side.shares.windBack(QUEUE);
  const { priority } = placeOf(job?.priority ?? 0);
  const after = await side.redis.hgetall(clock);
  expect(Number(after[`now:${priority}`] ?? 0)).toBeLessThan(TURNS / 2);
  expect(after).toMatchObject({ 'now:0': '3', 'end:0:A': '4' });
  const low = await queue.getJob('low');
  expect(low?.priority).toBe(queuePriority(0, 3));
  expect((await queue.getJobs(['prioritized'], 0, -1, true)).at(-1)?.id).toBe('low');
});

test('what was put off while the clock was wound back does not wait behind all that comes', async () => {
  const bench = await makeProjects();
  const { side, queue, add, serve, age } = bench;
  await holdUp(bench);
  await add('A', 3);
  await serve(2);
  await age(TURNS - 10);
  await side.shares.windBack(QUEUE);
  const late = await queue.getJob('hold');
  await late?.promote();
  await add('A', 5);
  await side.shares.windBack(QUEUE);
  await add('A', 5);
  const order = (await queue.getJobs(['prioritized'], 0, -1, true)).map(({ id }) => id);
  expect(order).toHaveLength(12);
  expect(order.indexOf('hold')).toBeLessThan(8);
  const [job] = await queue.getJobs(['prioritized']);
  expect(placeOf(job?.priority ?? 0).turn).toBeLessThan(20);
});

test('priority and turn fit into what BullMQ takes, in order, and can be read back', () => {
  const all = [9, 8, 1, 0].flatMap((priority) =>
    [0, 1, TURNS - 1].map((turn) => ({ priority, turn, value: queuePriority(priority, turn) })),
  );
  expect(all.map(({ value }) => value)).toEqual(all.map(({ value }) => value).toSorted((a, b) => a - b));
  for (const { priority, turn, value } of all) expect(placeOf(value)).toEqual({ priority, turn });
  expect(queuePriority(0, 1e9)).toBeLessThan(2 ** 21);
  expect(queuePriority(9, 0)).toBe(1);
});

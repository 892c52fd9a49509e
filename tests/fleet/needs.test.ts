import { writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import type { ResourceView } from '../../workers/queue/waiting-line.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { runScript } from '../support/script.ts';
import { until } from '../support/until.ts';

const resources = { drive: 1, licence: 2 };

/** A workflow of one drill step that needs these, and works until its file is there. */
async function startNeeding(fleet: Fleet, step: string, needs: string[]): Promise<string> {
  const dataset_id = await fleet.dataset();
  const kwargs = { journal: fleet.journal, until_file: fleet.place.path(`go-${step}`) };
  const definition = { name: 'drill', steps: [{ name: step, task: 'drill', needs, kwargs }] };
  return (await fleet.engine.start(definition, { initiator: 'test', dataset_id })).id;
}

async function limitsOf(fleet: Fleet): Promise<ResourceView[]> {
  const { stdout } = await runScript('longshore.ts', ['limits', '--json'], fleet.place.env);
  return (JSON.parse(stdout) as { resources: ResourceView[] }).resources;
}

test('who finds a resource taken waits without slot, process or retry, and goes on as soon as it is given back', async () => {
  // With a minute of lock nothing runs out while this test waits.
  const fleet = await makeFleet({ resources, queue: { lock_seconds: 60 }, autoscale: { min: 2, max: 2 } });
  const worker = await fleet.worker();
  const go = (step: string): void => writeFileSync(fleet.place.path(`go-${step}`), '');
  const first = await startNeeding(fleet, 'first', ['drive']);
  await until(() => fleet.events('start', 'first')[0]);
  const second = await startNeeding(fleet, 'second', ['licence', 'drive']);
  await until(() => worker.log().includes('step waits for a resource'), { what: 'the second to wait' });
  const third = await startNeeding(fleet, 'third', ['licence']);
  await until(() => fleet.events('start', 'third')[0], { what: 'the slot to be free for the third' });

  const views = new Map((await limitsOf(fleet)).map((view) => [view.resource, view]));
  expect(views.get('drive')).toMatchObject({
    limit: 1,
    held: [{ workflow_id: first, step: 'first', worker: expect.stringContaining('-worker@') }],
    waiting: [{ workflow_id: second, index: 0 }],
  });
  // All or none: the second does not keep the licence while it waits for the drive.
  expect(views.get('licence')?.held.map(({ workflow_id }) => workflow_id)).toEqual([third]);
  const shown = await runScript('longshore.ts', ['limits'], fleet.place.env);
  expect(shown.stdout).toMatch(/drive +1 of 1 +1 +[0-9a-f-]{36}/);

  expect(fleet.events('start', 'second')).toEqual([]);
  const asked = Date.now();
  go('first');
  await until(() => fleet.events('start', 'second')[0], { what: 'the second to be woken' });
  expect(Date.now() - asked).toBeLessThan(15_000); // It would have looked again after 30 s.
  for (const step of ['second', 'third']) go(step);
  const done = await fleet.reaches(second, 'SUCCESS');
  const run = done.steps[0]?.last_task_run;
  expect(run?.retries).toBe(0);
  expect(await fleet.store.records.attempts(run?._id ?? '')).toHaveLength(1);
  await fleet.reaches(third, 'SUCCESS');
  await until(async () => (await limitsOf(fleet)).every(({ held }) => held.length === 0), {
    what: 'all given back',
  });
});

test('what a killed worker held is free again when its lock has run out, and never held by two meanwhile', async () => {
  const fleet = await makeFleet({ resources, autoscale: { min: 4, max: 4 } });
  const lost = await fleet.worker();
  const ids = [await startNeeding(fleet, 'one', ['drive'])];
  await until(() => fleet.events('start', 'one')[0]);
  lost.kill('SIGKILL');
  await lost.exited;
  for (const step of ['one', 'two', 'three']) writeFileSync(fleet.place.path(`go-${step}`), '');
  for (const step of ['two', 'three']) ids.push(await startNeeding(fleet, step, ['drive']));
  await fleet.worker();
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  const course = fleet
    .entries()
    .slice(1) // Of the attempt that was killed.
    .map(({ event, step }) => `${event} ${step}`);
  for (const [at, entry] of course.entries())
    if (entry.startsWith('start')) expect(course[at + 1], course.join()).toBe(entry.replace('start', 'end'));
});

test('a task that names what it needs itself waits as well', async () => {
  const fleet = await makeFleet({ resources: { ...resources, drill_drive: 0 } });
  await fleet.worker();
  const dataset_id = await fleet.dataset();
  const definition = { name: 'w', steps: [{ name: 'one', task: 'needy' }] };
  const { id } = await fleet.engine.start(definition, { initiator: 'test', dataset_id });
  const run = await until(async () => (await fleet.engine.show(id)).steps[0]?.last_task_run);
  const attempt = await until(async () => {
    const [only] = await fleet.store.records.attempts(run._id);
    return only?.outcome === 'postponed' ? only : null;
  });
  expect(attempt.reason).toContain('waits for one of 0 of the resource drill_drive');
});

test('a step that needs what config.resources does not name is refused by name', async () => {
  const fleet = await makeFleet({ resources });
  await expect(startNeeding(fleet, 'one', ['tape'])).rejects.toThrow(
    'step 1 needs "tape", which config.resources does not name',
  );
});

test('an attempt whose exclusive permit ran out and went to another stops, uses no retry, and waits for its turn', async () => {
  const fleet = await makeFleet({ queue: { lock_seconds: 1, stalled_check_seconds: 0.5 } });
  const { prefix } = fleet.place.config.queue;
  const worker = await fleet.worker();
  const id = await fleet.start({ one: { permit: 'turn', until_file: fleet.place.path('go') } });
  await until(() => fleet.events('granted')[0], { what: 'the step to have its permit' });
  const redis = new Redis(fleet.place.config.queue.url ?? '');
  onTestFinished(() => redis.disconnect());
  // As after an outage in which it ran out, and another was faster.
  await redis.multi().del(`${prefix}:permits:turn`).zadd(`${prefix}:permits:turn`, Infinity, 'other').exec();
  await until(() => fleet.events('start').length > 2, { what: 'it to come again in vain' });
  expect(fleet.events('granted')).toHaveLength(1);
  expect(worker.log()).toContain('the permit of an attempt ran out; others hold it');
  await redis.del(`${prefix}:permits:turn`);
  await until(() => fleet.events('granted').length === 2, { what: 'its turn' });
  writeFileSync(fleet.place.path('go'), '');
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(done.steps[0]?.last_task_run).toMatchObject({ retries: 0, losses: 0 });
});

import { expect, test } from 'vitest';
import type { WireWorkflow } from '../../workers/gateway/shapes.ts';
import { createMeter, createProgressWriter } from '../../workers/fleet/isolation/progress.ts';
import type { AttemptKey, Records } from '../../workers/records/contract.ts';
import { makeGateway } from '../gateway/gateway.ts';
import { begin, failure, makeWorkflow } from '../records/fixture.ts';
import { activeTask, buttonsOf, failureOf, groupsOf, headOf, isPending, stepRow } from './pages.ts';

const firstRow = ({ steps }: WireWorkflow) => steps.slice(0, 1).map(stepRow)[0];
const STEPS = ['archive', 'stage'].map((name) => ({ name }));

/** A gateway, and one workflow whose first step runs. */
async function running() {
  const { ask, store, place } = await makeGateway();
  const { records } = store;
  const workflow = makeWorkflow({ steps: STEPS });
  await records.createWorkflow(workflow);
  const { key } = await begin(records, workflow, 0, 'w1@node-1:7');
  const look = async (): Promise<WireWorkflow> =>
    (await ask<WireWorkflow>(`/workflows/${workflow.id}?last_task_run=true`)).body;
  return { ask, records, place, id: workflow.id, key, look };
}

/** As tasks write it: by their meter. */
async function report(records: Records, key: AttemptKey, total: number | null, done: number): Promise<void> {
  const writer = createProgressWriter(async (value) => {
    await records.progress(key, value);
  }, 0);
  const meter = createMeter('tar', { total, units: 'bytes' }, writer);
  meter.set(done);
  await writer.flush();
}

test('the pages show how far a step is and how long it takes, and whose step it is', async () => {
  const { records, key, look } = await running();
  const progress = { name: 'tar', fraction_done: 0.256, done: 256, total: 1000, units: 'bytes' };
  await records.progress(key, { ...progress, time_remaining_sec: 90, wt_avg_rate: 8, avg_rate: 8 });
  const workflow = await look();
  expect(workflow.steps.map(stepRow)).toEqual([
    {
      name: 'archive',
      status: 'STARTED',
      retries: null,
      percent: 26,
      remaining: 90_000,
      start: expect.any(Number) as number,
      duration: expect.closeTo(0, -5) as number,
    },
    {
      name: 'stage',
      status: 'PENDING',
      retries: null,
      percent: null,
      remaining: null,
      start: null,
      duration: null,
    },
  ]);
  expect(headOf(workflow)).toEqual({
    name: 'integrated',
    dataset: 7,
    circle: '0 / 2',
    elapsed: expect.closeTo(0, -5) as number,
  });
  expect(activeTask(workflow)).toEqual({
    step: 'archive #1',
    task: workflow.steps[0]?.last_task_run?._id,
    dataset: 7,
    worker: 'w1@node-1:7',
    queue: 'test.q',
    started: expect.closeTo(Date.now(), -5) as number,
    percent: 25,
    remaining: 90_000,
  });
  expect([buttonsOf(workflow), failureOf(workflow)]).toEqual([['Stop', 'Delete'], null]);
  expect(['STAGE', 'archive', 'delete'].map((name) => isPending(name, [workflow]))).toEqual([
    true,
    true,
    false,
  ]);
});

test.each([
  ['nothing has moved', 1000, 0],
  ['nobody knows how much it is', null, 12],
  ['there is nothing to do', 0, 0],
])('the pages name no time while %s', async (_why, total, done) => {
  const { records, key, look } = await running();
  await report(records, key, total, done);
  const workflow = await look();
  expect(workflow.steps.map((step) => stepRow(step).remaining)).toEqual([null, null]);
  expect(activeTask(workflow)?.remaining).toBeNull();
});

test('the pages name no time of a step that waits for a service, and that of one which waits for stability', async () => {
  const { records, key, id, look } = await running();
  await records.running(key, { pid: 12, pgid: 12, hostname: 'node-1' });
  expect(firstRow(await look())).toMatchObject({ percent: null, remaining: null });
  const next_attempt_at = new Date().toISOString();
  const waits = { waits: 'for the archive', code: 'E_ARCHIVE_UNAVAILABLE', next_attempt_at };
  await records.finish(key, { outcome: 'postponed', reason: 'away', next_attempt_at, result: waits });
  expect(activeTask(await look())).toMatchObject({ step: 'archive #1', percent: null, remaining: null });
  const again = await begin(records, { id });
  const result = { name: '2026-11-28T13:05:09.042', time_remaining_sec: -0.5 };
  await records.finish(again.key, { outcome: 'postponed', reason: 'changed', next_attempt_at, result });
  expect(firstRow(await look())).toMatchObject({ status: 'STARTED', remaining: -500 });
});

test('the pages show why a step failed, offer what can be done, and add their groups up', async () => {
  const { ask, records, place, id, key, look } = await running();
  const next_attempt_at = new Date().toISOString();
  await records.finish(key, { outcome: 'retry', error: failure, next_attempt_at, reason: 'x' });
  const waiting = await look();
  expect(firstRow(waiting)).toMatchObject({ status: 'RETRY', retries: null, duration: null });
  expect([failureOf(waiting), buttonsOf(waiting)]).toEqual([null, ['Stop', 'Delete']]);
  const again = await begin(records, { id });
  await records.finish(again.key, { outcome: 'failure', error: failure });
  const failed = await look();
  expect(failureOf(failed)).toEqual({
    title: 'E_IO',
    items: ['read of /x failed'],
    traceback: failure.traceback,
  });
  expect(firstRow(failed)).toMatchObject({
    retries: 1,
    duration: expect.any(Number) as number,
  });
  expect(headOf(failed)).toMatchObject({ circle: '0 / 2', elapsed: expect.closeTo(0, -5) as number });
  expect(buttonsOf(failed)).toEqual(['Resume', 'Delete']);
  await records.resume(id, { actor: 'ana', force: false, lock_seconds: 60 });
  expect(buttonsOf(await look())).toEqual(['Delete']);
  const { body } = await ask<Record<string, number>>(
    `/workflows/counts_by_status?app_id=${place.config.app_id}`,
  );
  expect(groupsOf(body)).toEqual({ ACTIVE: 0, DONE: 1, EXCEPTION: 1 });
});

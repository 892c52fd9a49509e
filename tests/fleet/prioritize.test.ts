import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makeFleet } from '../support/fleet.ts';
import { runScript } from '../support/script.ts';
import { until } from '../support/until.ts';

test('a workflow that is prioritized while it waits runs next, with its later steps, and the audit trail says who', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 } });
  const go = fleet.place.path('go');
  const ids = [await fleet.start({ first: { until_file: go } })];
  await fleet.worker();
  await until(() => fleet.events('start', 'first')[0]);
  for (const name of ['b', 'c', 'd']) ids.push(await fleet.start({ [`${name}1`]: {}, [`${name}2`]: {} }));
  const [, , , last = ''] = ids;

  const longshore = (...args: string[]) => runScript('longshore.ts', args, fleet.place.env);
  const before = await longshore('prioritize', last, '9', '--dry-run');
  expect(before.stdout).toContain(`${last} (drill) would have priority 9 from step "d1" on`);
  expect((await fleet.store.records.workflow(last))?.steps.map(({ priority }) => priority)).toEqual([1, 2]);
  const { stdout } = await longshore('prioritize', last, '9', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ priority: 9, workflows: [{ workflow_id: last, step: 'd1' }] });

  writeFileSync(go, '');
  for (const id of ids) await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map(({ step }) => step)).toEqual([
    'first',
    'd1',
    'd2',
    'b1',
    'b2',
    'c1',
    'c2',
  ]);
  expect((await fleet.store.records.workflow(last))?.steps.map(({ priority }) => priority)).toEqual([9, 9]);
  const [entry] = await fleet.store.records.auditLog({ subject: `workflow:${last}` });
  expect(entry).toMatchObject({ action: 'workflow.prioritize', details: { step: 'd1', from: 1, to: 9 } });
});

test('one can be put behind the others as well, and what has failed keeps its priority when it is resumed', async () => {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 }, queue: { share_by: null } });
  const failing = await fleet.start({ f1: { fail: 1, fail_code: 'E_VALIDATION' }, f2: {} });
  const worker = await fleet.worker();
  await fleet.reaches(failing, 'FAILURE');
  worker.kill('SIGTERM');
  await worker.exited;
  const late = await fleet.start({ late: {} });
  const other = await fleet.start({ other: {} });
  await fleet.engine.prioritize(late, { actor: 'test', priority: 0 });
  await fleet.engine.prioritize(failing, { actor: 'test', priority: 8 });
  await fleet.engine.resume(failing, { actor: 'test' });
  await fleet.worker();
  for (const id of [late, other, failing]) await fleet.reaches(id, 'SUCCESS');
  expect(fleet.events('start').map(({ step }) => step)).toEqual(['f1', 'f1', 'f2', 'other', 'late']);
});

test('a misspelt workflow or priority changes nothing, and one that has succeeded says so', async () => {
  const fleet = await makeFleet();
  const id = await fleet.start({ one: {} });
  const longshore = (...args: string[]) => runScript('longshore.ts', args, fleet.place.env);
  expect(await longshore('prioritize', id, 'no-such-dataset', '9')).toMatchObject({ code: 3 });
  expect(await longshore('prioritize', id, '10')).toMatchObject({ code: 2 });
  expect(await longshore('prioritize', id)).toMatchObject({ code: 2 });
  expect((await fleet.store.records.workflow(id))?.steps[0]?.priority).toBe(1);
  await fleet.worker();
  await fleet.reaches(id, 'SUCCESS');
  expect(await longshore('prioritize', id, '9')).toMatchObject({ code: 4 });
  expect(await fleet.engine.prioritize(id, { actor: 'test', priority: 9 })).toBeNull();
});

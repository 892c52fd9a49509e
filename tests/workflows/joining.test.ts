import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { WorkflowDocument } from '../../workers/records/contract.ts';
import { openStore } from '../../workers/store.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { createEngine } from '../../workers/workflows/engine.ts';
import { brings } from '../../workers/workflows/joining.ts';
import { makePlace } from '../support/place.ts';

async function setUp() {
  const { config } = await makePlace();
  const store = await openStore(config);
  const log = createLogger('test', {}, { level: 'silent' });
  const engine = await createEngine({ config, store, log });
  onTestFinished(async () => {
    await engine.close();
    await store.close();
  });
  const of = (workflow: string, start_kwargs = {}, dataset_id = 7): WorkflowDocument =>
    buildWorkflow(config, workflow, { dataset_id, start_kwargs, initiator: 'test' });
  return { config, store, engine, of };
}

test('a recall is shared with whatever brings the same, and nothing else is shared', async () => {
  const { of } = await setUp();
  expect(brings(of('stage'), of('stage'))).toBe(true);
  expect(brings(of('integrated'), of('stage'))).toBe(true);
  expect(brings(of('stage'), of('integrated'))).toBe(false);
  expect(brings(of('stage'), of('stage', {}, 8))).toBe(false);
  // Arguments say how; they would be lost.
  expect(brings(of('stage'), of('stage', { level: 'readback' }))).toBe(false);
  for (const name of ['delete', 'purge', 'qc', 'archive'])
    expect(brings(of(name), of(name)), name).toBe(false);
  const stage = of('stage');
  expect(brings({ ...stage, steps: stage.steps.toReversed() }, stage)).toBe(false);
  const [first, ...others] = stage.steps;
  if (first === undefined) throw new Error('no steps');
  for (const other of [{ kwargs: { other: true } }, { queue: 'elsewhere.q' }])
    expect(brings({ ...stage, steps: [{ ...first, ...other }, ...others] }, stage)).toBe(false);
  expect(brings({ ...stage, app_id: 'elsewhere' }, stage)).toBe(false);
});

test('of five stagings that are asked for at the same moment one is started and four join it', async () => {
  const { engine, store } = await setUp();
  const answers = await Promise.all(
    ['ann', 'ben', 'cy', 'di', 'ed'].map((initiator) => engine.start('stage', { dataset_id: 7, initiator })),
  );
  const [id] = new Set(answers.map((answer) => answer.id));
  expect(new Set(answers.map((answer) => answer.id)).size).toBe(1);
  expect(answers.filter(({ joined }) => joined)).toHaveLength(4);
  expect((await engine.list({})).metadata.total).toBe(1);
  const joins = (await store.records.auditLog({ subject: `workflow:${id}` })).filter(
    ({ action }) => action === 'workflow.join',
  );
  expect(joins).toHaveLength(4);
  const { initiator } = await engine.show(id as string);
  expect([initiator, ...joins.map(({ actor }) => actor)].toSorted()).toEqual([
    'ann',
    'ben',
    'cy',
    'di',
    'ed',
  ]);
});

test('a staging joins a landing that is at work, and queues it when whoever recorded it did not', async () => {
  const { engine, store, of } = await setUp();
  const landing = of('integrated');
  await store.records.createWorkflow(landing); // Its process died before it queued anything.
  expect(await engine.start('stage', { dataset_id: 7, initiator: 'ann' })).toMatchObject({
    id: landing.id,
    name: 'integrated',
    joined: true,
  });
  expect((await engine.fleet()).jobs).toMatchObject({ prioritized: 1 });
});

test('what does not bring the same is refused as before; what has ended is not joined', async () => {
  const { engine } = await setUp();
  const { id } = await engine.start('delete', { dataset_id: 7, initiator: 'ann' });
  await expect(engine.start('stage', { dataset_id: 7, initiator: 'ben' })).rejects.toMatchObject({
    code: 'E_WORKFLOW_STATE',
    fields: { workflow_id: id },
  });
  await engine.revoke(id, { actor: 'ann' });
  const first = await engine.start('stage', { dataset_id: 7, initiator: 'ben' });
  await engine.revoke(first.id, { actor: 'ben' });
  const second = await engine.start('stage', { dataset_id: 7, initiator: 'cy' });
  expect(second).toMatchObject({ joined: false });
  expect(second.id).not.toBe(first.id);
  expect(await engine.start('stage', { dataset_id: 7, initiator: 'di', alongside: true })).toMatchObject({
    joined: false,
  });
});

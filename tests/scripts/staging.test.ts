/** What operators do with staged copies, on a real fleet. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stagedCopyOf } from '../../workers/content/staged-copy.ts';
import { makeFleet } from '../support/fleet.ts';
import { runScript } from '../support/script.ts';

async function setUp() {
  const fleet = await makeFleet();
  const { place, store, engine } = fleet;
  const id = await fleet.dataset();
  writeFileSync(join(place.path('origin/sample-1'), 'reads.fastq'), Buffer.alloc(200_000, 'A'));
  const run = (...args: string[]) => runScript('longshore.ts', args, place.env);
  const json = async (...args: string[]) =>
    JSON.parse((await run(...args, '--json')).stdout) as Record<string, unknown>;
  const actions = async () =>
    (await store.records.auditLog({ subject: `dataset:${id}` })).map(({ action }) => action);
  return { fleet, place, store, engine, id, run, json, actions };
}

test('a landed dataset is pinned, unpinned, purged and staged again; a recall that two ask for is one', async () => {
  const { fleet, place, store, engine, id, run, json, actions } = await setUp();
  const worker = await fleet.worker();
  const landing = await engine.start('integrated', { dataset_id: id, initiator: 'test' });
  await fleet.reaches(landing.id, 'SUCCESS');
  const dataset = await store.catalog.get(id);
  const { trees, bundle, links, aliasFolder } = stagedCopyOf(place.config, dataset);

  expect((await run('stage', 'sample-1')).stdout).toContain('staged already, and intact');
  expect(await json('stage', 'sample-1')).toMatchObject({ workflow_id: null, joined: false });
  const planned = (await json('stage', 'sample-1', '--force', '--dry-run')) as {
    plans: { totals: { seconds: number } }[];
  };
  expect(planned.plans[0]?.totals.seconds).toBeGreaterThan(0);

  expect(await run('pin', 'sample-1', '--days', '3', '--dry-run')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('nothing was changed'),
  });
  expect(await run('pin', 'sample-1', '--days', '1e3')).toMatchObject({ code: 2 });
  expect(await actions()).not.toContain('dataset.pin');
  expect((await run('pin', 'sample-1', '--days', '3', '--reason', 'paper')).stdout).toMatch(
    /pinned until .*: paper/,
  );
  expect((await run('show', 'sample-1')).stdout).toMatch(/pinned +until .*: paper/);
  expect((await run('datasets')).stdout).toContain('yes, pinned');
  expect(await run('purge', 'sample-1', '--force')).toMatchObject({
    code: 4,
    stderr: expect.stringMatching(/pinned until.*\n.*longshore unpin/),
  });
  expect((await run('unpin', 'sample-1')).stdout).toContain('unpinned');
  expect((await run('unpin', 'sample-1')).stdout).toContain('is not pinned');
  expect(await actions()).toEqual(expect.arrayContaining(['dataset.pin', 'dataset.unpin']));

  expect(await run('purge', 'sample-1', '--follow')).toMatchObject({ code: 0 });
  expect(
    [...trees, bundle, links.tree, links.bundle, aliasFolder].filter((path) => existsSync(path)),
  ).toEqual([]);
  expect((await store.catalog.states(id))[0]?.state).toBe('PURGED');

  // Without a worker, so that the first one is still at work when the second comes.
  worker.kill('SIGKILL');
  await worker.exited;
  const [one, two] = await Promise.all([json('stage', 'sample-1'), json('stage', 'sample-1')]);
  expect(one.workflow_id).toBe(two.workflow_id);
  expect(new Set([one.joined, two.joined])).toEqual(new Set([false, true]));
  expect((await run('stage', 'sample-1')).stdout).toContain(`joined the workflow that brings`);
  expect(await run('purge', 'sample-1')).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('E_WORKFLOW_STATE'),
  });
  await fleet.worker();
  await fleet.reaches(String(one.workflow_id), 'SUCCESS');
  expect((await engine.list({ name: 'stage' })).metadata.total).toBe(1);
  expect(existsSync(join(trees[0] ?? '', 'reads.fastq'))).toBe(true);

  const again = await json('stage', 'sample-1', '--force', '--follow');
  expect(again).toMatchObject({ name: 'stage', status: 'SUCCESS' });
  expect(again.id).not.toBe(one.workflow_id);
  expect(await json('archive', 'sample-1', '--follow')).toMatchObject({ name: 'archive', status: 'SUCCESS' });
}, 400_000); // More than twenty processes, one after the other.

test('a dataset that is being landed is staged by that: a staging joins it before there is a bundle', async () => {
  const { engine, id, run, json } = await setUp();
  expect(await run('stage', 'sample-1')).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('E_NOT_ARCHIVED'),
  });
  const landing = await engine.start('integrated', { dataset_id: id, initiator: 'test' });
  expect(await json('stage', 'sample-1')).toMatchObject({ workflow_id: landing.id, joined: true });
  expect(await run('stage', 'sample-1', '--dry-run')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`would join stage`),
  });
  expect(await run('delete', 'sample-1')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--yes'),
  });
});

test('several at once: all are looked at before the first is started', async () => {
  const { fleet, engine, run, json } = await setUp();
  await fleet.dataset();
  expect(await run('stage', 'sample-1', 'sample-2')).toMatchObject({ code: 4 });
  expect(await run('archive', 'sample-1', 'nobody', 'nothing')).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('there is no dataset "nobody"; there is no dataset "nothing"'),
  });
  expect((await engine.list({})).metadata.total).toBe(0);
  const { started } = (await json('archive', 'sample-1', 'sample-2')) as {
    started: { dataset_id: number }[];
  };
  expect(started.map(({ dataset_id }) => dataset_id)).toEqual([1, 2]);
  expect((await engine.list({ name: 'archive' })).metadata.total).toBe(2);
});

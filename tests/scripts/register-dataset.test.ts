import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

async function setUp() {
  const place = await makePlace();
  const folder = place.dir('lab data');
  const register = (...args: string[]) => runScript('register_dataset.ts', args, place.env);
  const read = async () => {
    const store = await openStore(place.config);
    const { datasets } = await store.catalog.list({});
    const { results } = await store.records.listWorkflows({});
    await store.close();
    return { datasets, workflows: results.map(({ workflow }) => workflow) };
  };
  return { place, folder, register, read };
}

test('a folder is registered under the given name with its type and one workflow', async () => {
  const { folder, register, read } = await setUp();
  const { code, stdout } = await register('run 17', folder, '-r', '--description', 'first', '--json');
  expect(code).toBe(0);
  const { datasets, workflows } = await read();
  expect(datasets).toMatchObject([
    {
      name: 'run-17',
      type: 'RAW_DATA',
      origin_path: folder,
      create_method: 'ON_DEMAND',
      description: 'first',
    },
  ]);
  expect(workflows).toMatchObject([{ name: 'integrated', dataset_id: datasets[0]?.id }]);
  expect(JSON.parse(stdout)).toMatchObject({ outcome: 'created', workflow_id: workflows[0]?.id });
  expect((await register('results', folder, '--data-product')).code).toBe(0);
  expect((await read()).datasets.map(({ type }) => type).sort()).toEqual(['DATA_PRODUCT', 'RAW_DATA']);
});

test('a name that is taken leaves nothing behind, no workflow without a dataset either', async () => {
  const { place, folder, register, read } = await setUp();
  await register('run_17', folder, '-r');
  const before = await read();
  const again = await register('run_17', folder, '-r');
  expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('registered already') });
  const taken = await register('run_17', place.dir('other'), '-r');
  expect(taken).toMatchObject({ code: 4, stdout: expect.stringContaining('choose another name') });
  expect(await read()).toEqual(before);
});

test('a missing folder ends with code 1, no or two types with code 2, and a dry run makes no catalog', async () => {
  const { place, folder, register } = await setUp();
  expect(await register('a', place.path('gone'), '-r')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('there is no folder'),
  });
  for (const types of [[], ['-r', '-d'], ['--dataset-type', 'NO_SUCH']])
    expect((await register('a', folder, ...types)).code).toBe(2);
  // What a variable that was never set leaves.
  for (const name of ['', ' ']) expect((await register(name, folder, '-r')).code).toBe(2);
  expect(await register('a', folder, '-d', '--dry-run')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('would create'),
  });
  expect(existsSync(place.config.catalog.path)).toBe(false);
});

test('several wrong arguments are told at once', async () => {
  const { place, register } = await setUp();
  const args = ['a', place.path('gone'), '--dataset-type', 'NO_SUCH', '--workflow', 'nonsense'];
  const { code, stdout } = await register(...args, '--json');
  expect(code).toBe(2);
  const { error } = JSON.parse(stdout) as { error: { code: string; fields: { problems: string[] } } };
  expect(error).toMatchObject({ code: 'E_USAGE', hint: expect.stringContaining('is mounted') });
  expect(error.fields.problems).toEqual([
    expect.stringContaining('"NO_SUCH" is not configured'),
    expect.stringContaining('there is no folder'),
    expect.stringContaining('nonsense'),
  ]);
  expect(existsSync(place.config.catalog.path)).toBe(false);
});

test('register_ondemand is the same script as register', async () => {
  const { place, folder, read } = await setUp();
  const args = [folder, '--dataset-type', 'RAW_DATA', '--prefix', 'p'];
  expect((await runScript('register_ondemand.ts', args, place.env)).code).toBe(0);
  expect((await read()).datasets.map(({ name }) => name)).toEqual(['p-lab-data']);
});

import { lstatSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Files, type Landing, makeLanding } from './landing.ts';

const files = { 'a.txt': 'alpha', 'sub/b.txt': 'beta', 'sub/link': { link: 'b.txt' }, empty: '' };

async function staged(config: Record<string, unknown> = {}, tree: Files = files) {
  const landing = await makeLanding(tree, { config });
  await landing.upTo('stage_dataset');
  return { landing, tree: (await landing.dataset()).staged_path as string };
}

const problemsOf = async (landing: Landing): Promise<[string, string][]> => {
  const error = await landing.fails('validate_dataset');
  expect(error).toMatchObject({ code: 'E_VALIDATION', class: 'operator' });
  expect((await landing.dataset()).is_staged).toBe(false);
  expect(await landing.states()).not.toContain('STAGED');
  return error.fields.problems as [string, string][];
};

test('a good copy is declared staged, and the answer carries an empty list', async () => {
  const { landing } = await staged();
  expect(await landing.run('validate_dataset')).toEqual([landing.id, []]);
  expect(await landing.run('validate_dataset', { attempt: 2 })).toEqual([landing.id, []]);
  expect((await landing.dataset()).is_staged).toBe(true);
  expect(await landing.states()).toEqual(['REGISTERED', 'ARCHIVED', 'FETCHED', 'STAGED']);
  expect(landing.progress.at(-1)).toEqual({ name: 'validate', done: 4, total: 4 });
});

test('missing, extra, longer and altered files, another link and another type are all reported with path and reason', async () => {
  const { landing, tree } = await staged();
  unlinkSync(join(tree, 'empty'));
  writeFileSync(join(tree, 'sub/extra'), 'x');
  writeFileSync(join(tree, 'a.txt'), 'ALPHA'); // Same size.
  writeFileSync(join(tree, 'sub/b.txt'), 'beta and more');
  unlinkSync(join(tree, 'sub/link'));
  symlinkSync('a.txt', join(tree, 'sub/link'));
  const problems = await problemsOf(landing);
  expect(problems).toHaveLength(5);
  expect(new Map(problems)).toEqual(
    new Map([
      ['a.txt', 'checksum mismatch'],
      ['empty', 'file does not exist'],
      ['sub/b.txt', expect.stringContaining('13 bytes')],
      ['sub/extra', 'is not in the manifest'],
      ['sub/link', expect.stringContaining('leads to')],
    ]),
  );
});

test('a copy whose times were touched, and whose bytes are right, is good', async () => {
  const { landing, tree } = await staged();
  utimesSync(join(tree, 'a.txt'), 1, 1);
  await landing.run('validate_dataset');
});

test('level readback finds altered bytes behind an unchanged size and time', async () => {
  const { landing, tree } = await staged({ validate: { level: 'readback' } });
  const { mtimeMs } = lstatSync(join(tree, 'a.txt'));
  writeFileSync(join(tree, 'a.txt'), 'ALPHA');
  utimesSync(join(tree, 'a.txt'), mtimeMs / 1000, mtimeMs / 1000);
  expect(await problemsOf(landing)).toEqual([['a.txt', 'checksum mismatch']]);
});

test('an empty list of files is refused when the inspection counted some', async () => {
  const { landing } = await staged({}, { folder: null });
  await landing.store.catalog.patch(landing.id, { num_files: 3 });
  expect(await problemsOf(landing)).toEqual([['.', expect.stringContaining('the list of files is empty')]]);
});

test('a dataset that really has no file is good', async () => {
  const { landing } = await staged({}, { folder: null });
  await landing.run('validate_dataset');
});

test('file rows that are missing in the catalog are noticed', async () => {
  const { landing } = await staged();
  await landing.store.catalog.sweepFiles(landing.id, 'no such generation');
  expect(await problemsOf(landing)).toEqual([['.', expect.stringContaining('the catalog lists 0 files')]]);
});

test('without a manifest, rows that are not what the inspection counted are noticed', async () => {
  const { landing } = await staged({ digests: { member: ['md5'] } });
  const { archive_path } = await landing.dataset();
  rmSync(`${archive_path}.manifest.ndjson`);
  await landing.store.catalog.patch(landing.id, { num_files: 5 });
  expect(await problemsOf(landing)).toEqual([['.', 'the catalog lists 4 files, the inspection counted 5']]);
});

test.each([false, true])(
  'what is archived can be staged after the origin was inspected again and holds more (digests %s)',
  async (digests) => {
    const landing = await makeLanding(files);
    await landing.upTo('validate_dataset');
    writeFileSync(join(landing.origin, 'late.txt'), 'late');
    await landing.run('inspect_dataset', { kwargs: { digests } });
    expect((await landing.dataset()).num_files).toBe(5);
    await landing.run('stage_dataset', { workflow_id: 'workflow-2', task_id: 'task-0002' });
    await landing.run('validate_dataset', { workflow_id: 'workflow-2', task_id: 'task-0003' });
  },
);

test('an origin that was emptied and inspected does not keep its archived bundle from being staged', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('validate_dataset');
  for (const name of ['a.txt', 'sub', 'empty']) rmSync(join(landing.origin, name), { recursive: true });
  await landing.run('inspect_dataset');
  expect((await landing.fails('archive_dataset', { attempt: 2 })).code).toBe('E_ORIGIN_REDUCED');
  await landing.run('stage_dataset', { workflow_id: 'workflow-2', task_id: 'task-0002' });
  await landing.run('validate_dataset', { workflow_id: 'workflow-2', task_id: 'task-0003' });
});

test('without a manifest the rows of the catalog decide, and every file is read', async () => {
  const { landing, tree } = await staged({ digests: { member: ['md5'] } });
  const { archive_path } = await landing.dataset();
  rmSync(`${archive_path}.manifest.ndjson`);
  await landing.run('validate_dataset');
  await landing.store.catalog.patch(landing.id, { is_staged: false });
  writeFileSync(join(tree, 'a.txt'), 'ALPHA');
  unlinkSync(join(tree, 'sub/b.txt'));
  writeFileSync(join(tree, 'sub/c.txt'), 'beta');
  const error = await landing.fails('validate_dataset');
  expect(new Map(error.fields.problems as [string, string][])).toEqual(
    new Map([
      ['a.txt', 'checksum mismatch'],
      ['sub/b.txt', 'file does not exist'],
      ['sub/c.txt', 'is not in the catalog'],
    ]),
  );
});

test('a dataset without a staged copy is refused', async () => {
  const landing = await makeLanding(files);
  expect(await landing.fails('validate_dataset')).toMatchObject({ code: 'E_VALIDATION' });
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { listTasks, loadTask } from '../../workers/tasks/registry.ts';
import { makePlace } from '../support/place.ts';

function useFolder(folder: string): void {
  process.env.LONGSHORE_TASKS_PATH = folder;
  onTestFinished(() => {
    delete process.env.LONGSHORE_TASKS_PATH;
  });
}

test('a file that exports a task is a task of that name, and nothing else has to be changed', async () => {
  const place = await makePlace();
  const folder = place.dir('tasks');
  writeFileSync(
    join(folder, 'greet.ts'),
    `export const task = { description: 'hello', run: async () => [1] };`,
  );
  writeFileSync(join(folder, 'Not-a-task.ts'), '');
  useFolder(folder);
  expect(listTasks()).toContain('greet');
  expect(listTasks()).not.toContain('Not-a-task');
  expect((await loadTask('greet')).description).toBe('hello');
});

test('contract and registry are no tasks', async () => {
  expect(listTasks()).not.toEqual(expect.arrayContaining(['contract']));
  expect(listTasks()).not.toEqual(expect.arrayContaining(['registry']));
  await expect(loadTask('registry')).rejects.toMatchObject({ code: 'E_TASK_UNKNOWN' });
});

test.each(['no_such_task', '../fleet/child', '/etc/passwd', ''])(
  '"%s" is refused with the tasks there are',
  async (name) => {
    await expect(loadTask(name)).rejects.toMatchObject({
      code: 'E_TASK_UNKNOWN',
      message: expect.stringContaining('known tasks: '),
      fields: { task: name, known: listTasks() },
    });
  },
);

test('a slip in a name is told with the name that was meant, and a file that cannot be a task by its own', async () => {
  await expect(loadTask('inspect_dataste')).rejects.toMatchObject({
    message: expect.stringContaining('there is no task "inspect_dataste" (did you mean "inspect_dataset"?)'),
  });
  await expect(loadTask('nothing_like_it')).rejects.toMatchObject({
    message: expect.not.stringContaining('did you mean'),
  });
  const place = await makePlace();
  const folder = place.dir('tasks');
  writeFileSync(join(folder, 'count-files.ts'), 'export const task = { run: async () => [1] };');
  useFolder(folder);
  await expect(loadTask('count-files')).rejects.toMatchObject({
    code: 'E_TASK_UNKNOWN',
    message: expect.stringContaining(join(folder, 'count-files.ts')),
    hint: expect.stringContaining('underscores'),
  });
});

test('a file without a task is named, with what it should export', async () => {
  const place = await makePlace();
  const folder = place.dir('tasks');
  writeFileSync(join(folder, 'empty.ts'), 'export const other = 1;');
  useFolder(folder);
  await expect(loadTask('empty')).rejects.toMatchObject({
    code: 'E_TASK_UNKNOWN',
    message: expect.stringContaining(join(folder, 'empty.ts')),
    hint: expect.stringContaining('defineTask'),
  });
});

import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { variable } from '../../config/env.ts';
import { LongshoreError } from '../errors.ts';
import { type Task, taskOf } from './contract.ts';

/** A task's file name is its name: a newcomer adds a file and nothing else. */
const NAME = /^[a-z][a-z0-9_]*$/;
const NOT_TASKS = new Set(['contract', 'registry']);

/** Those of LONGSHORE_TASKS_PATH, `:` between them. */
export const moreTaskFolders = (): string[] =>
  (variable('LONGSHORE_TASKS_PATH') ?? '').split(delimiter).filter((folder) => folder !== '');

/** In the order in which they are searched. */
const taskFolders = (): string[] => [import.meta.dirname, ...moreTaskFolders()];

export function listTasks(): string[] {
  const names = taskFolders()
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -'.ts'.length))
    .filter((name) => NAME.test(name) && !NOT_TASKS.has(name));
  return [...new Set(names)].toSorted();
}

/** @throws E_TASK_UNKNOWN naming the tasks there are */
export function taskFile(name: string): string {
  const file = taskFolders()
    .map((folder) => join(folder, `${name}.ts`))
    .find((path) => existsSync(path));
  if (!NAME.test(name) || NOT_TASKS.has(name) || file === undefined) {
    const known = listTasks();
    throw new LongshoreError(
      'E_TASK_UNKNOWN',
      `there is no task "${name}"; known tasks: ${known.join(', ')}`,
      {
        fields: { task: name, known },
      },
    );
  }
  return file;
}

/** @throws E_TASK_UNKNOWN naming the tasks there are, or saying what the file lacks */
export async function loadTask(name: string): Promise<Task> {
  const file = taskFile(name);
  return taskOf(name, file, (await import(file)) as object);
}

import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { variable } from '../../config/env.ts';
import { nearestOf } from '../near-name.ts';
import { isLongshoreError, LongshoreError, whyNotLoaded } from '../errors.ts';
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
  if (NAME.test(name) && !NOT_TASKS.has(name) && file !== undefined) return file;
  if (file !== undefined && !NAME.test(name) && !name.includes('/')) throw misnamed(name, file);
  const known = listTasks();
  const near = nearestOf(name, known);
  const meant = near === null ? '' : ` (did you mean "${near}"?)`;
  throw new LongshoreError(
    'E_TASK_UNKNOWN',
    `there is no task "${name}"${meant}; known tasks: ${known.join(', ')}`,
    { fields: { task: name, meant: near, known } },
  );
}

/** Somebody has written it, and would look for the fault inside. */
const misnamed = (name: string, file: string): LongshoreError =>
  new LongshoreError('E_TASK_UNKNOWN', `"${name}" cannot be the name of a task, so ${file} is none`, {
    fields: { task: name, file },
    hint: 'Name the file with lower-case letters, digits and underscores, a letter first.',
  });

/** @throws E_TASK_UNKNOWN naming the tasks there are, or saying what the file lacks; E_TASK_CRASHED saying where it is broken */
export async function loadTask(name: string): Promise<Task> {
  const file = taskFile(name);
  return taskOf(name, file, await loaded(name, file));
}

async function loaded(name: string, file: string): Promise<object> {
  try {
    return (await import(file)) as object;
  } catch (error) {
    if (isLongshoreError(error)) throw error;
    throw new LongshoreError('E_TASK_CRASHED', whyNotLoaded(error), {
      fields: { task: name, file },
      cause: error,
      hint: 'The file of the task cannot be loaded. Correct it; the next try reads it again.',
    });
  }
}

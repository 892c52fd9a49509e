import { spawn } from 'node:child_process';
import { existsSync, realpathSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { stripVTControlCharacters } from 'node:util';
import type { Logger } from '../../log.ts';
import { taskFile } from '../../tasks/registry.ts';
import { type Launch, TASK_PROGRAM } from '../isolation/child.ts';
import type { CodeReader } from './code-graph.ts';
import { compiledName, ENTRY, SUFFIX } from './compiled-name.ts';

/**
 * As often as a worker has to meet the same code before it is worth half a second of processor time to bring it together:
 * it saves a fifteenth of that at each start. By then it is known that it loads.
 */
const WORTH_IT = 6;
const USED_AGAIN_MS = 24 * 60 * 60 * 1000;
const COMPILER = join(import.meta.dirname, 'compile-task.ts');

/** What a task's process is started with. */
export interface TaskProgram {
  readonly launch: Launch;
  /** Names the code of now; null when it cannot be read. */
  readonly code: string | null;
  readonly compiled: boolean;
}

/** The code of tasks brought together, so that their processes start faster; see compile-task.ts. */
export interface CompiledTasks {
  /** For the code that is on disk now, from its source where it was not brought together. */
  programOf(task: string): TaskProgram;
  /** It has loaded all its code, and the task. */
  loaded(task: string, program: TaskProgram): void;
  /** It ended before: this worker runs this code from its source from now on. */
  distrust(program: TaskProgram): void;
}

/** @param folder where it is kept, for all workers of this host; null: every process runs its source */
export function createCompiledTasks(folder: string | null, reader: CodeReader, log: Logger): CompiledTasks {
  if (folder === null) {
    const source = { launch: TASK_PROGRAM, code: null, compiled: false };
    return { programOf: () => source, loaded: () => undefined, distrust: () => undefined };
  }
  const starts = new Map<string, number>();
  const tried = new Set<string>();
  const distrusted = new Set<string>();
  const used = new Map<string, number>();
  let compiling = false;

  const nameOf = (task: string): string | null => {
    try {
      return compiledName(task, realpathSync(taskFile(task)), reader);
    } catch {
      return null; // Its process says what is wrong.
    }
  };

  /** What is used is not removed as unused. */
  const keep = (path: string): void => {
    if (Date.now() - (used.get(path) ?? 0) < USED_AGAIN_MS) return;
    used.set(path, Date.now());
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // Another user's; that user's workers keep it.
    }
  };

  const compile = async (task: string): Promise<void> => {
    // After the work of the fleet. It ends by itself if this worker dies.
    const child = spawn('nice', ['-n', '19', process.execPath, COMPILER, task, folder], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = new Promise<string | null>((resolve) => {
      child.once('error', ({ message }) => resolve(message));
      child.once('close', (code) => resolve(code === 0 ? null : `its process ended with exit code ${code}`));
    });
    const said = stripVTControlCharacters(await text(child.stderr).catch(() => ''));
    const failed = await ended;
    const reason = said.split('\n').find((line) => /Error: (?!Build failed)|^\[[A-Z_]+\]/.test(line));
    if (failed !== null) log.info({ task, reason: reason ?? failed }, 'a task starts from its source only');
  };

  return {
    programOf: (task) => {
      const code = nameOf(task);
      const path = join(folder, code ?? '');
      const entry = join(path, `${ENTRY}${SUFFIX.cjs}`);
      if (code === null || distrusted.has(code) || !existsSync(entry))
        return { launch: TASK_PROGRAM, code, compiled: false };
      keep(path);
      return { launch: { command: TASK_PROGRAM.command, args: [entry] }, code, compiled: true };
    },
    loaded: (task, { code, compiled }) => {
      if (code === null || compiled) return;
      const times = (starts.get(code) ?? 0) + 1;
      starts.set(code, times);
      // One at a time, and each once: what could not be brought together cannot be the next time either.
      if (times < WORTH_IT || compiling || tried.has(code)) return;
      tried.add(code);
      compiling = true;
      void compile(task).finally(() => (compiling = false));
    },
    distrust: ({ code }) => {
      if (code !== null) distrusted.add(code);
    },
  };
}

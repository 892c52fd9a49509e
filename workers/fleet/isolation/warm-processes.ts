import { taskFile } from '../../tasks/registry.ts';
import type { CodeReader } from '../code/code-graph.ts';
import type { Launch, WarmProcess } from './child.ts';

/** Between two tasks of a rare kind it is not worth its memory (80 to 100 MB). */
const IDLE_MS = 30_000;
/**
 * A look at 60 files takes 0.6 ms, more than half of what a step takes at a thousand a second. Nobody can save a file and
 * queue a job for it in less.
 */
const CODE_LOOK_MS = 5;
/** Where a task's file lies depends on variables and folders that are not changed for a single job. */
const PLACE_LOOK_MS = 1_000;

/** Processes of tasks that wait for their next attempt. */
export interface WarmProcesses {
  /** One that runs the code that is on disk now; null: there is none. */
  take(task: string, launch: Launch): WarmProcess | null;
  put(task: string, launch: Launch, process: WarmProcess): void;
}

export function createWarmProcesses(reader: CodeReader): WarmProcesses {
  const waiting = new Map<string, { process: WarmProcess; timer: NodeJS.Timeout }[]>();
  const code = currentCode(reader);
  return {
    take: (task, launch) => {
      const list = waiting.get(keyOf(task, launch)) ?? [];
      for (let next = list.pop(); next !== undefined; next = list.pop()) {
        clearTimeout(next.timer);
        const { process } = next;
        if (process.alive && process.loaded.code?.digest === code(task)) return process;
        process.retire();
      }
      return null;
    },
    put: (task, launch, process) => {
      const key = keyOf(task, launch);
      const list = waiting.get(key) ?? [];
      waiting.set(key, list);
      const timer = setTimeout(() => {
        list.splice(
          list.findIndex((one) => one.process === process),
          1,
        );
        process.retire();
      }, IDLE_MS).unref();
      list.push({ process, timer });
    },
  };
}

/** Heap and niceness are set at the start of a process. */
const keyOf = (task: string, { command, args }: Launch): string => [task, command, ...args].join('\0');

/** The digest of a task's code as it is on disk; null when there is no such task any more. */
function currentCode(reader: CodeReader): (task: string) => string | null {
  const file = kept(PLACE_LOOK_MS, taskFile);
  return kept(CODE_LOOK_MS, (task) => {
    try {
      return reader.graph(file(task)).digest;
    } catch {
      return null; // A fresh process says what is wrong.
    }
  });
}

/** What `look` found for a task, for so long. */
function kept<T>(ms: number, look: (task: string) => T): (task: string) => T {
  const seen = new Map<string, { at: number; found: T }>();
  return (task) => {
    const now = performance.now();
    const known = seen.get(task);
    if (known !== undefined && now - known.at < ms) return known.found;
    const found = look(task);
    seen.set(task, { at: now, found });
    return found;
  };
}

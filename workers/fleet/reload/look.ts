import { readFile, stat } from 'node:fs/promises';
import { relative, join } from 'node:path';
import type { Logger } from '../../log.ts';
import type { RestartDue } from '../../queue/registry.ts';
import { troubleTeller } from '../../trouble.ts';
import { repeat } from '../repeat.ts';

const ROOT = join(import.meta.dirname, '../../..');
const LOOK_EVERY_SECONDS = 30;

/**
 * For reload.watch `off`: nothing is watched, tried or restarted, but a person is to be told that this worker runs something
 * else than its disk holds. About 150 `stat` calls, and none of them holds up the event loop on a slow file system.
 */
export function lookNowAndThen(
  loaded: ReadonlyMap<string, string>,
  log: Logger,
  every_seconds = LOOK_EVERY_SECONDS,
): { readonly due: RestartDue | null; stop(): void } {
  let due: RestartDue | null = null;
  const stamps = new Map<string, string>();
  const same = new Map<string, boolean>();

  const look = async (): Promise<void> => {
    for (const [path, text] of loaded) {
      const stamp = await stampOf(path);
      if (stamps.get(path) === stamp) continue;
      stamps.set(path, stamp);
      same.set(path, (await textOf(path)) === text);
    }
    const files = [...same].filter(([, is]) => !is).map(([path]) => relative(ROOT, path));
    if (files.length === 0) {
      due = null;
      return;
    }
    if (due === null)
      log.warn({ files }, 'code or configuration has changed; the worker must be restarted to use it');
    due = { since: due?.since ?? new Date().toISOString(), files, by_itself: false, overdue: false };
  };
  const trouble = troubleTeller(log, {
    what: 'changed code could not be looked for',
    end: 'changed code is looked for again',
    level: 'warn',
  });
  const looking = repeat(every_seconds, look, trouble);
  return {
    get due() {
      return due;
    },
    stop: () => void looking.stop(),
  };
}

async function stampOf(path: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(path);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return 'gone';
  }
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return ''; // As engineFiles() has it.
  }
}

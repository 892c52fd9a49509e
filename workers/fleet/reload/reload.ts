import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { watch } from 'chokidar';
import type { Config } from '../../../config/index.ts';
import type { Logger } from '../../log.ts';
import type { RestartDue } from '../../queue/registry.ts';
import { moreTaskFolders } from '../../tasks/registry.ts';
import { CodeReader } from '../code/code-graph.ts';
import { lookNowAndThen } from './look.ts';
import { tryCode } from './trial.ts';

/**
 * What becomes of a changed file:
 *
 * | what changed                                       | `tasks`                  | `all`                                |
 * | -------------------------------------------------- | ------------------------ | ------------------------------------ |
 * | what only tasks and their processes load           | the next job uses it, said in the log (also without any watching) |
 * | what the worker has loaded: engine, config/, .env  | it says that it must be restarted | the same, and it restarts when idle |
 * | the same, and it does not hold when tried          | nothing, said in the log; looked at again with the next change    |
 * | the same, with `off`                               | found within half a minute, and told; nothing else happens   |
 * | the same, back to what the worker has loaded       | nothing is due any more           | the same                    |
 */
export interface Reload {
  /** Set while this worker runs other code or configuration than the disk holds. */
  readonly due: RestartDue | null;
  /** Resolves when the worker is to restart itself: it is idle, and what it would start with was tried. */
  readonly restart: Promise<RestartDue>;
  close(): Promise<void>;
}

export interface ReloadParts {
  readonly config: Config;
  readonly log: Logger;
  /** What the worker was started with; a start may wait for Redis for a day. */
  readonly loaded: ReadonlyMap<string, string>;
  /** Jobs in hand. */
  readonly busy: () => number;
  /** It was told to leave, which a restart must not overtake: it would come back. */
  readonly leaving: () => boolean;
}

const ROOT = join(import.meta.dirname, '../../..');
/** An editor writes a file in several steps, and git many files one after the other. */
const SETTLE_MS = 200;
const LOOK_FOR_IDLE_MS = 200;

export function startReload({ config, log, loaded, busy, leaving }: ReloadParts): Reload {
  const restart = Promise.withResolvers<RestartDue>();
  if (config.reload.watch === 'off') {
    const looking = lookNowAndThen(loaded, log);
    return {
      get due() {
        return looking.due;
      },
      restart: restart.promise,
      close: async () => looking.stop(),
    };
  }
  const reader = new CodeReader();
  let due: RestartDue | null = null;
  const closing = new AbortController();

  const look = async (touched: readonly string[]): Promise<void> => {
    const files = differing(loaded, engineFiles(reader));
    if (files.length === 0) {
      if (due !== null) log.info('the code of this worker is what it has loaded again; no restart is due');
      due = null;
      const others = touched.filter((path) => !loaded.has(path)).map(nameOf);
      if (others.length > 0) log.info({ files: others }, 'code of tasks has changed; the next job uses it');
      return;
    }
    const problem = await tryCode(closing.signal);
    if (closing.signal.aborted) return;
    if (problem !== null) {
      due = null;
      log.error(
        { files, problem },
        'changed code does not hold; this worker goes on with what it has loaded',
      );
      return;
    }
    const by_itself = config.reload.watch === 'all';
    due = { since: due?.since ?? new Date().toISOString(), files, by_itself, overdue: false };
    if (by_itself) {
      log.info({ files }, 'code or configuration has changed; the worker restarts when it is idle');
    } else log.warn({ files }, 'code or configuration has changed; the worker must be restarted to use it');
  };

  const touched = new Set<string>();
  let looking: Promise<void> = Promise.resolve();
  let settling: NodeJS.Timeout | null = null;
  const onChange = (path: string): void => {
    touched.add(path);
    if (settling !== null) clearTimeout(settling);
    settling = setTimeout(() => {
      const paths = [...touched];
      touched.clear();
      looking = looking
        .then(() => look(paths))
        .catch((error: unknown) => {
          log.error({ err: error }, 'changed code could not be looked at');
        });
    }, SETTLE_MS);
  };
  const watcher = watch(watchedPaths(), {
    ignoreInitial: true,
    ignored: (path, stats) => stats?.isFile() === true && !path.endsWith('.ts') && !isDotenv(path),
  });
  watcher.on('all', (_, path) => onChange(path));
  // What changed before it was watched is told by nobody.
  watcher.on('ready', () => onChange(join(ROOT, 'workers/worker.ts')));
  watcher.on('error', (error) => log.warn({ err: error }, 'code is not watched as it should be'));

  const idle = setInterval(() => {
    if (due === null || config.reload.watch !== 'all' || leaving()) return;
    if (busy() === 0) restart.resolve(due);
    else if (!due.overdue && Date.now() - Date.parse(due.since) > config.reload.idle_wait_seconds * 1000) {
      due = { ...due, overdue: true };
      log.warn(
        { ...due, busy: busy() },
        'the worker was never idle and still runs old code; it must be restarted, or will do so when it is idle',
      );
    }
  }, LOOK_FOR_IDLE_MS);

  return {
    get due() {
      return due;
    },
    restart: restart.promise,
    close: async () => {
      closing.abort();
      clearInterval(idle);
      if (settling !== null) clearTimeout(settling);
      await watcher.close();
      await looking;
    },
  };
}

/** Texts of all that a start of this worker reads: its import graph, every overlay, the variables. */
export function engineFiles(reader = new CodeReader()): Map<string, string> {
  const overlays = readdirSync(join(ROOT, 'config'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(ROOT, 'config', name));
  const files = [join(ROOT, 'workers/worker.ts'), ...overlays].flatMap((entry) => [
    ...reader.graph(entry).files,
  ]);
  return new Map([...files, ...dotenvFiles().map((path) => [path, textOf(path)] as const)]);
}

function differing(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths]
    .filter((path) => before.get(path) !== after.get(path))
    .map(nameOf)
    .toSorted();
}

export const nameOf = (path: string): string => relative(ROOT, path);

/** As config/env.ts finds it, for the usual place; LONGSHORE_DOTENV names another one, or none. */
function dotenvFiles(): string[] {
  const named = process.env.LONGSHORE_DOTENV;
  if (named === 'none') return [];
  return [named === undefined || named === '' ? join(ROOT, '.env') : named];
}

const isDotenv = (path: string): boolean => dotenvFiles().includes(path);

function watchedPaths(): string[] {
  return [join(ROOT, 'workers'), join(ROOT, 'config'), ...dotenvFiles(), ...moreTaskFolders()];
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // As good as an empty one.
  }
}

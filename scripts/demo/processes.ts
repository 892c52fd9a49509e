import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = join(import.meta.dirname, '../..');

/**
 * A process that dies of itself this often in this time is not started again: something is wrong with it. One that is
 * killed (SIGKILL comes from outside: a person who looks what happens, the kernel's need for memory) always is.
 */
const GIVE_UP = { deaths: 5, within_ms: 30_000 };
const LONGEST_PAUSE_MS = 2_000;
const STOP_MS = 12_000;

/** The fleet's own processes, kept up as pm2 would keep them, until they are stopped. */
export interface Processes {
  start(name: string, script: string): void;
  /** Process id of the one that runs under this name now; null between its end and its next start. */
  pid(name: string): number | null;
  /** Rejects when a process cannot be kept up. */
  readonly failed: Promise<never>;
  /** In the reverse order of their start: workers first, Redis last. */
  stop(): Promise<void>;
  /** At once, and without a word to anybody. */
  kill(): void;
}

export function startProcesses(options: {
  env: Record<string, string | undefined>;
  logs: string;
  note: (line: string) => void;
}): Processes {
  const running = new Map<string, ChildProcess>();
  const stopping = new AbortController();
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined); // Whoever waits for the landings gets it; nobody does any more while stopping.
  mkdirSync(options.logs, { recursive: true });

  const keep = async (name: string, script: string): Promise<void> => {
    const deaths: number[] = [];
    let restarts = 0;
    while (!stopping.signal.aborted) {
      const log = join(options.logs, `${name}.log`);
      const child = launch(script, options.env, log);
      running.set(name, child);
      const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
      if (stopping.signal.aborted) return;
      const how = signal === null ? `exit code ${code}` : signal;
      const now = Date.now();
      if (signal !== 'SIGKILL') deaths.push(now);
      if (code === 78 || deaths.filter((at) => now - at < GIVE_UP.within_ms).length >= GIVE_UP.deaths) {
        fail(new Error(`${name} ended by ${how} and cannot be kept up; the end of ${log}:\n${tail(log)}`));
        return;
      }
      options.note(`${name} ended by ${how}; it is started again, as pm2 would do`);
      restarts += 1;
      await sleep(Math.min(200 * restarts, LONGEST_PAUSE_MS));
    }
  };

  return {
    start: (name, script) => {
      keep(name, script).catch((error: unknown) => fail(error as Error));
    },
    pid: (name) => {
      const child = running.get(name);
      return child === undefined || child.exitCode !== null || child.signalCode !== null
        ? null
        : (child.pid ?? null);
    },
    failed,
    stop: async () => {
      stopping.abort();
      for (const child of [...running.values()].toReversed()) await stopOne(child);
    },
    kill: () => {
      stopping.abort();
      for (const child of running.values()) child.kill('SIGKILL');
    },
  };
}

/**
 * In a session of its own, so that Ctrl-C reaches the demo alone and the order of the end is ours; and told by the
 * kernel (setpriv, of util-linux) when the demo itself was killed.
 */
function launch(script: string, env: Record<string, string | undefined>, log: string): ChildProcess {
  const out = openSync(log, 'a');
  const command = [process.execPath, join(root, script)];
  const [file = '', ...args] = knowsDeathSignal() ? ['setpriv', '--pdeathsig', 'TERM', ...command] : command;
  const child = spawn(file, args, { cwd: root, env, detached: true, stdio: ['ignore', out, out] });
  closeSync(out);
  return child;
}

let deathSignal: boolean | null = null;
function knowsDeathSignal(): boolean {
  deathSignal ??= spawnSync('setpriv', ['--pdeathsig', 'TERM', 'true']).status === 0;
  return deathSignal;
}

async function stopOne(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  child.kill('SIGTERM');
  await gone;
  clearTimeout(late);
}

export function tail(log: string, lines = 15): string {
  try {
    return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '(nothing was written)';
  }
}

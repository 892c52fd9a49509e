import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

const root = join(import.meta.dirname, '../..');

export interface ScriptResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunningScript {
  readonly pid: number;
  readonly ended: Promise<ScriptResult>;
  /** What has been written so far. */
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
}

export interface ScriptOptions {
  /** As another user: options of setpriv. */
  readonly setpriv?: readonly string[];
}

/** Starts a script as its users do: a process of its own, stdin closed. Killed when the test ends. */
export function startScript(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  { setpriv }: ScriptOptions = {},
): RunningScript {
  const command = [process.execPath, join(root, 'scripts', script), ...args];
  const [file = '', ...words] = setpriv === undefined ? command : ['setpriv', ...setpriv, ...command];
  const child = spawn(file, words, {
    cwd: root,
    env: { ...process.env, LOG_FORMAT: 'json', LOG_LEVEL: 'info', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<ScriptResult>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    pid: child.pid ?? 0,
    ended,
    stdout: () => stdout,
    stderr: () => stderr,
    kill: (signal) => child.kill(signal),
  };
}

export async function runScript(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  options: ScriptOptions = {},
): Promise<ScriptResult> {
  return startScript(script, args, env, options).ended;
}

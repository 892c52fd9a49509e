import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

const root = join(import.meta.dirname, '../..');

/** For a process that is given no more of the suite's environment: without it, it compiles all its code anew. */
export const COMPILE_CACHE = { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE };

/** One of our entry points as its own process, with no more than the given environment; gone when the test ends. */
export function startScript(
  script: string,
  env: Record<string, string>,
  options: { args?: string[]; checkout?: string } = {},
): ChildProcess {
  const checkout = options.checkout ?? root;
  const child = spawn(process.execPath, [join(checkout, script), ...(options.args ?? [])], {
    cwd: checkout,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, LOG_LEVEL: 'warn', ...COMPILE_CACHE, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  });
  return child;
}

/** Command lines of all living processes whose environment, or the folder they work in, names this text. */
export function processesWith(text: string, options: { pids?: boolean } = {}): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        // Redis writes its title over its environment; it is known by the folder that it works in.
        const known = readFileSync(`/proc/${pid}/environ`, 'utf8') + readlinkSync(`/proc/${pid}/cwd`);
        if (!known.includes(text)) return [];
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return line !== '' && options.pids === true ? [`${pid} ${line}`] : [line];
      } catch {
        return []; // Ended in between, or not ours to look at.
      }
    })
    .filter((line) => line !== '');
}

/** Asks a program that answers on stdout and ends soon: `quota`, `df`. For scripts; a task runs programs by `context.tool`. */
import { spawn } from 'node:child_process';
import { environmentFor } from './environment.ts';
import { whereIs } from './where-is.ts';

export interface Said {
  /** `absent`: it is not installed here. `failed`: it ended with an error or took too long; it may have said something. */
  readonly state: 'answered' | 'absent' | 'failed';
  readonly text: string;
  /** Why it failed, with the last line of its stderr. */
  readonly why: string | null;
}

const MAX_BYTES = 1024 ** 2;

/** Without a shell, in English. Never rejects. */
export function ask(command: string, args: readonly string[], seconds: number): Promise<Said> {
  const path = whereIs(command);
  if (path === null) return Promise.resolve({ state: 'absent', text: '', why: null });
  return new Promise((resolve) => {
    const child = spawn(path, [...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...environmentFor(), LC_ALL: 'C' },
      timeout: seconds * 1000,
      killSignal: 'SIGKILL',
    });
    const said = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].on('data', (chunk: Buffer) => {
        if (said[stream].length < MAX_BYTES) said[stream] += chunk.toString();
      });
    const failed = (why: string): void => resolve({ state: 'failed', text: said.stdout, why });
    child.once('error', (error) => failed(error.message));
    child.once('close', (code, signal) => {
      const last = said.stderr.trim().split('\n').at(-1) ?? '';
      const words = last === '' ? '' : `: ${last}`;
      if (code === 0) resolve({ state: 'answered', text: said.stdout, why: null });
      else failed(signal === null ? `exit code ${code}${words}` : `no answer within ${seconds} s`);
    });
  });
}

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

/** Enough for a slow network mount; a start that takes longer would be no good either. */
const TRIAL_MS = 60_000;

/**
 * What a worker does before it touches Redis or the records, in a process of its own: the configuration is read and
 * checked, and everything that worker.ts imports is loaded; worker.ts itself, which would begin to work, is parsed.
 * Programs of task processes and what they import come along. Types are not checked: that takes the compiler seconds.
 */
const TRIAL = `
  import { readFileSync } from 'node:fs';
  import { stripTypeScriptTypes } from 'node:module';
  const here = ${JSON.stringify(import.meta.dirname)};
  const { importsOf, CodeReader } = await import(here + '/../code/code-graph.ts');
  const { configOrExit } = await import(here + '/../../../config/index.ts');
  await configOrExit();
  for (const program of [here + '/../../worker.ts', here + '/../isolation/task-process.ts']) {
    const source = readFileSync(program, 'utf8');
    stripTypeScriptTypes(source);
    for (const file of importsOf(program, source)) await import(file);
  }
  process.exit(0);
`;

/**
 * Null when a worker would start with the code and configuration of now; else why not.
 *
 * @param signal nobody waits for the answer any more
 */
export async function tryCode(signal: AbortSignal): Promise<string | null> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', TRIAL],
    {
      cwd: join(import.meta.dirname, '../../..'),
      stdio: ['ignore', 'ignore', 'pipe'],
      signal,
      killSignal: 'SIGKILL',
    },
  );
  const waiting = new AbortController();
  const said = text(child.stderr).catch(() => '');
  const ended = new Promise<number | null>((resolve) => {
    child.once('error', () => resolve(null));
    child.once('close', (code) => resolve(code));
  });
  const late = sleep(TRIAL_MS, 'late' as const, { signal: waiting.signal }).catch(() => 'late' as const);
  const code = await Promise.race([ended, late]);
  waiting.abort();
  if (code === 0) return null;
  child.kill('SIGKILL');
  if (code === 'late') return `it was not loaded within ${TRIAL_MS / 1000} s`;
  return lastWords(await said) || `its process ended with exit code ${code}`;
}

/** The message of the error, without the stack and the version of Node. */
function lastWords(said: string): string {
  const lines = said.split('\n').filter((line) => line.trim() !== '');
  return lines
    .filter((line) => !/^\s+at |^Node\.js v|^node:/.test(line))
    .slice(0, 8)
    .join('\n');
}

import { spawn } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { LongshoreError } from '../errors.ts';

/**
 * Runs one of the programs that every Debian has (coreutils, perl-base), for what Node has no binding for. No shell;
 * paths are arguments after `--`. Resolves with the exit code.
 */
export function runCoreutil(
  program: string,
  args: readonly string[],
): Promise<{ code: number; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < 4096) stderr += chunk.toString();
    });
    child.once('error', (cause) => {
      const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
      reject(
        missing ? new LongshoreError('E_TOOL_MISSING', `${program} is not installed`, { cause }) : cause,
      );
    });
    child.once('close', (code) => resolve({ code: code ?? 128, stderr: stderr.trim() }));
  });
}

/** Removes a tree, also one with read-only directories; missing is fine. Does not block the event loop. */
export async function removeTree(path: string): Promise<void> {
  const first = await runCoreutil('rm', ['-rf', '--', path]);
  if (first.code === 0) return;
  // A staged copy of a read-only folder is read-only too. What a link leads to is none of it: chmod would go there.
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
    await runCoreutil('chmod', ['-R', 'u+rwX', '--', path]);
  const second = await runCoreutil('rm', ['-rf', '--', path]);
  if (second.code !== 0) {
    throw new LongshoreError('E_IO', `cannot remove ${path}: ${second.stderr}`, { fields: { path } });
  }
}

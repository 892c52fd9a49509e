/**
 * Preloaded into a script that a schedule runs: whatever it prints stands among the lines of the worker that started it,
 * so each line begins with the script's name. Not by a pipe into that worker: the script goes on when the worker ends, and
 * would write to nobody. What is logged goes past process.stdout (see log.ts) and names itself.
 */
import { basename } from 'node:path';
import { isMainThread } from 'node:worker_threads';

// A thread's lines come by way of its process.
if (isMainThread) {
  const name = `${basename(process.argv[1] ?? '', '.ts')}: `;
  for (const out of [process.stdout, process.stderr]) nameLines(out, name);
}

function nameLines(out: NodeJS.WriteStream, name: string): void {
  const write = out.write.bind(out) as (chunk: string | Uint8Array, ...rest: unknown[]) => boolean;
  let fresh = true;
  out.write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    if (text === '') return write(chunk, ...rest);
    const named = (fresh ? name : '') + text.replaceAll(/\n(?!$)/g, `\n${name}`);
    fresh = text.endsWith('\n');
    return write(named, ...rest);
  };
}

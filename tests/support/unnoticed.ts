import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { until } from './until.ts';

/** The shell starts it, and becomes a program that waits for no children. */
const UNDER_ANOTHER = '"$0" --input-type=module -e "$@" & exec sleep 1000';

/**
 * A process that was killed and whose parent does not notice, as in a container whose first process waits for no children
 * that come to it: the kernel keeps its number, and says of it all that it said while it lived.
 *
 * @param code an ES module; what it has done when it prints a line is what it leaves
 * @returns its number
 */
export async function killedUnnoticed(code: string): Promise<number> {
  const script = `${code}; process.stdout.write(process.pid + '\\n'); setInterval(() => undefined, 1_000);`;
  const parent = spawn('sh', ['-c', UNDER_ANOTHER, process.execPath, script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(parent, 'exit');
  onTestFinished(async () => {
    parent.kill('SIGKILL');
    await ended;
  });
  const [line] = (await once(createInterface(parent.stdout), 'line')) as [string];
  const pid = Number(line);
  process.kill(pid, 'SIGKILL');
  await until(() => / Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')), {
    what: `process ${pid} to have ended`,
  });
  return pid;
}

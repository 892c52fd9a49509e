import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { signalGroup } from '../../workers/fleet/isolation/process-group.ts';
import type { Area } from './areas.ts';
import { type Finding, problem } from './finding.ts';

const PROGRAM = join(import.meta.dirname, 'area-process.ts');

/**
 * All areas at the same time, each in a process of its own: a mount that hangs holds a thread of its process for ever
 * (the thread pool has four, and SQLite takes the event loop with it), and only a process can be left behind.
 */
export async function examine(areas: readonly Area[], program = PROGRAM): Promise<Finding[]> {
  return (await Promise.all(areas.map((area) => examineOne(area, program)))).flat();
}

function examineOne(area: Area, program: string): Promise<Finding[]> {
  const { name, subject, seconds, late } = area;
  const child = spawn(process.execPath, [program, name, subject ?? ''], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const findings: Finding[] = [];
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-2000);
  });
  child.on('message', (message) => findings.push(message as Finding));
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
      leave(child);
      resolve([...findings, late]);
    }, seconds * 1000);
    const ended = (how: string): void => {
      clearTimeout(timer);
      if (how === '') resolve(findings);
      else resolve([...findings, crashed(area, how, stderr)]);
    };
    child.once('error', (error) => ended(error.message));
    child.once('close', (code, signal) =>
      ended(code === 0 ? '' : `ended with ${signal ?? `exit code ${code}`}`),
    );
  });
}

/** The kernel may keep it until its mount answers; nobody waits for that. */
function leave(child: ChildProcess): void {
  child.removeAllListeners();
  if (child.connected) child.disconnect();
  child.stderr?.destroy();
  child.unref();
}

const crashed = ({ name, subject }: Area, how: string, stderr: string): Finding =>
  problem(`${name}.answer`, {
    ...(subject === null ? {} : { subject }),
    seen: `${how}: ${
      stderr
        .trim()
        .split('\n')
        .findLast((line) => /error/i.test(line)) ?? stderr.trim().slice(-200)
    }`,
    expected: 'every check ends by itself',
    remedy: 'This is a fault of the check; report it with what it said.',
  });

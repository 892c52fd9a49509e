import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { until } from './until.ts';

/** A cgroup with a limit, as a container has. */
export interface MemoryLimit {
  /** Moves a process into it; what it starts from then on is in it too. */
  hold(pid: number): void;
  /** How many processes the kernel has killed for want of memory. */
  kills(): number;
}

/** How the two versions of cgroups name the same things. */
const VERSIONS = [
  {
    root: '/sys/fs/cgroup',
    known: 'cgroup.controllers',
    limit: 'memory.max',
    kills: 'memory.events',
  },
  {
    root: '/sys/fs/cgroup/memory',
    known: 'memory.limit_in_bytes',
    limit: 'memory.limit_in_bytes',
    kills: 'memory.oom_control',
  },
];

/** Until the test ends; null where this user may not make one. */
export function limitMemory(bytes: number): MemoryLimit | null {
  const version = VERSIONS.find(({ root, known }) => existsSync(join(root, known)));
  if (version === undefined || process.getuid?.() !== 0) return null;
  const folder = join(version.root, `longshore-test-${process.pid}-${Date.now()}`);
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, version.limit), String(bytes));
  } catch {
    return null;
  }
  const members = (): string => readFileSync(join(folder, 'cgroup.procs'), 'latin1');
  onTestFinished(async () => {
    await until(() => members() === '', { what: 'the cgroup to be empty' });
    rmdirSync(folder);
  });
  return {
    hold: (pid) => writeFileSync(join(folder, 'cgroup.procs'), String(pid)),
    kills: () =>
      Number(/^oom_kill (\d+)/m.exec(readFileSync(join(folder, version.kills), 'latin1'))?.[1] ?? 0),
  };
}

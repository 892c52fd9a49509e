import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { arch, cpus, release, totalmem } from 'node:os';

/** What a figure means nothing without. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_gb: number;
  readonly kernel: string;
  readonly node: string;
  readonly tools: Record<string, string>;
  readonly file_system: string;
}

export function describeMachine(folder: string): Machine {
  return {
    cpu: `${cpus()[0]?.model ?? 'unknown'} (${arch()})`,
    cores: cpus().length,
    memory_gb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.version,
    tools: {
      tar: firstLine('tar', ['--version']),
      python3: firstLine('python3', ['--version']),
    },
    file_system: `type 0x${statfsSync(folder).type.toString(16)} at ${folder}`,
  };
}

function firstLine(program: string, args: string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8' }).split('\n')[0] ?? '';
  } catch {
    return 'not installed';
  }
}

/** Bytes that this process, its threads and the children it has waited for moved through system calls. */
export function movedBytes(): { read: number; written: number } {
  const io = readFileSync('/proc/self/io', 'latin1');
  const field = (name: string): number => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(io)?.[1]);
  return { read: field('rchar'), written: field('wchar') };
}

/** Seconds of processor time of this process, its threads and the children it has waited for. */
export function usedProcessor(): number {
  const stat = readFileSync('/proc/self/stat', 'latin1');
  // Fields 14 to 17 in ticks of 10 ms; the name in field 2 may hold blanks.
  const ticks = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15);
  return ticks.reduce((sum, value) => sum + Number(value), 0) / 100;
}

/** Highest resident memory of this process so far, bytes. */
export function peakMemory(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) * 1024;
}

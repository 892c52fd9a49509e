import { readFileSync } from 'node:fs';

/**
 * When a process was started, in ticks since the machine was: with its number it names one process for good. Null for one
 * that has ended, whether or not its parent has noticed.
 */
export function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in field 2 may hold blanks and brackets; the start is field 22.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

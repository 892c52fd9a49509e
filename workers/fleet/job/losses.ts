import { readFileSync } from 'node:fs';

/** Of the loss of a process that somebody killed. */
export const BLAME_OF_KILLED = 0.5;

/**
 * How far a job is to blame for the loss of its process, 0 to 1. The records add it up, and set a job aside that has
 * more than config.workflow.max_losses.
 *
 * | the process ended by                              | blame |
 * | ------------------------------------------------- | ----- |
 * | a crash, an exit code without a report             | 1     |
 * | SIGKILL, and the kernel ran out of memory meanwhile | 1     |
 * | SIGKILL otherwise: a person or another program      | 0.5   |
 * | anything, while it waited for the job (child.ts)    | 0     |
 *
 * Not 0 for a SIGKILL: a batch system that enforces its limits kills just like that, again and again.
 */
export function blameFor(
  signal: NodeJS.Signals | null,
  oom_kills: { before: number; after: number },
): number {
  return signal === 'SIGKILL' && oom_kills.before === oom_kills.after ? BLAME_OF_KILLED : 1;
}

/** Between two looks. A kill that short before an attempt began counts as one during it. */
const LOOK_MS = 100;
let seen = { at: Number.NEGATIVE_INFINITY, kills: Number.NaN };

/**
 * Processes that the kernel has killed for want of memory since the machine started, in any cgroup (proc(5), vmstat).
 * Asked before each attempt; the kernel adds up all of its counters for an answer, so that it is asked ten times a second
 * at most.
 */
export function oomKillsBefore(): number {
  const at = performance.now();
  if (at - seen.at > LOOK_MS) seen = { at, kills: oomKills() };
  return seen.kills;
}

/** The same at this moment. */
export function oomKills(): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'latin1'))?.[1] ?? Number.NaN);
  } catch {
    return Number.NaN; // Never equal to itself: without the counter, every SIGKILL may have been the kernel's.
  }
}

/** How long a job waits after it lost its process: short, growing, so that a poisoned job does not spin. */
export const lossDelayMs = (losses: number): number => Math.min(200 * 2 ** Math.min(losses, 10), 5_000);

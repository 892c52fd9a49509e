import { variable } from '../../../config/env.ts';

/**
 * A drill facility: LONGSHORE_CRASH_AT=<point> kills the process without warning when it comes to that point, as a
 * power cut or the kernel's out-of-memory killer would. Off unless the variable is set. The suite walks through all
 * points and proves that no step is lost or doubled; an installation may do the same with its own workflows.
 */
export const CRASH_POINTS = [
  /** The records know that this worker runs the step; its process does not exist yet. */
  'after-claim',
  /** The process of the task works. */
  'after-start',
  /** The task has done its work and reported; nothing of that is recorded. */
  'before-finish',
  /** The outcome is recorded; the queue does not know. */
  'after-finish',
  /** The next step or the workflows that follow are queued; the job has not ended. */
  'before-complete',
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

let wanted: string | null = null;

export function crashPoint(point: CrashPoint): void {
  // Read once, as each step passes by five times; not at the import, where an .env that cannot be read has no teller.
  wanted ??= variable('LONGSHORE_CRASH_AT') ?? '';
  if (wanted === point) process.kill(process.pid, 'SIGKILL');
}

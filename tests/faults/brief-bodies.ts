import type { Random } from '../../bench/chaos/random.ts';
import { LongshoreError, reportOf } from '../../workers/errors.ts';
import type { ChildEnding, TaskChild } from '../../workers/fleet/isolation/child.ts';
import type { TaskProcesses } from '../../workers/fleet/isolation/task-processes.ts';

const LONGEST_MS = 40;

export interface BriefBodies extends TaskProcesses {
  /** Steps that two bodies worked on at the same time. */
  readonly together: string[];
}

/**
 * In place of processes: bodies of a few milliseconds that end in every way a task may end, most of them well. Thousands of
 * attempts take seconds so, and all but the process is what a worker does.
 */
export function briefBodies(random: Random): BriefBodies {
  const atWork = new Set<string>();
  const together: string[] = [];
  const body = (): TaskChild => {
    const ended = Promise.withResolvers<ChildEnding>();
    let step: string | null = null;
    const end = (ending: ChildEnding): void => {
      if (step !== null) atWork.delete(step);
      step = null;
      ended.resolve(ending);
    };
    return {
      pid: process.pid,
      loaded: Promise.resolve({ code: null, limits: {}, retry: {} }),
      ended: ended.promise,
      start: ({ run }) => {
        step = `${run.workflow_id} ${run.step}`;
        if (atWork.has(step)) together.push(step);
        atWork.add(step);
        const ending = endingOf(random.next());
        setTimeout(() => end(ending), random.below(LONGEST_MS));
      },
      warn: () => undefined,
      stop: async (error) => end({ kind: 'stopped', error }),
    };
  };
  return { together, waiting: () => null, start: body };
}

function endingOf(lot: number): ChildEnding {
  const failed = (code: 'E_IO' | 'E_VALUE'): ChildEnding => ({
    kind: 'failed',
    error: reportOf(new LongshoreError(code, 'by lot')),
  });
  if (lot < 0.7) return { kind: 'result', result: [lot] };
  if (lot < 0.8)
    return {
      kind: 'postponed',
      reason: 'by lot',
      until: new Date(Date.now() + LONGEST_MS).toISOString(),
      progress: null,
    };
  if (lot < 0.88) return failed('E_IO');
  if (lot < 0.93) return failed('E_VALUE');
  return { kind: 'lost', reason: 'by lot', blame: 0, signal: null };
}

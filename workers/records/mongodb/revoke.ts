import { change } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { addTo, type Item } from '../../mongodb/outbox.ts';
import type { RunningAttempt } from '../contract.ts';
import { failureOf, reportBy } from '../failure.ts';
import type { AttemptPart, RunRecord } from './documents.ts';
import { closeAttempt, isOpen, moved, runsOf, stateOfRun } from './runs.ts';
import { accepts, type RunState } from '../transition.ts';

export interface Revocation {
  reason: string;
  taken_out?: Date | null;
  /** Delivered with it. */
  items?: (wasRunning: boolean) => Item[];
}

/** What a revoke writes over the run. */
export function revoked(run: Partial<RunRecord>, state: RunState, { reason, taken_out, items }: Revocation) {
  const running = isOpen(run.attempt);
  // The reference's readers know a revoked task by this name.
  const failure = failureOf(reportBy('E_REVOKED', 'terminated', { reason }));
  return {
    ...moved(state, 'pause', { result: { ...failure, exc_type: 'TaskRevokedError' } }),
    ...(isOpen(run.attempt) ? { attempt: closeAttempt(run.attempt, { outcome: 'revoked', reason }) } : {}),
    taken_out: taken_out ?? null,
    ...(items === undefined ? {} : { outbox: addTo(run.outbox, ...items(running)) }),
  };
}

export const runningIn = (task_id: string, attempt: AttemptPart | null | undefined): RunningAttempt | null =>
  isOpen(attempt)
    ? { task_id, number: attempt.number, worker: attempt.worker, host: attempt.host, pgid: attempt.pgid }
    : null;

/** The run becomes REVOKED if it has not ended; answers the attempt that was running. */
export const revokeRun = (mongo: Mongo, task_id: string, how: Revocation): Promise<RunningAttempt | null> =>
  change<RunRecord, RunningAttempt | null>(mongo, runsOf(mongo), task_id, (run) => {
    const state = stateOfRun(run);
    if (run === null || !accepts(state, 'pause')) return { answer: null };
    return { answer: runningIn(task_id, run.attempt), set: revoked(run, state, how) };
  });

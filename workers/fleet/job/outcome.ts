import { type ErrorReport, type LongshoreError, reportOf } from '../../errors.ts';
import type { RetryPolicy } from '../../../config/task-limits.ts';
import type { Finish, TaskRun } from '../../records/contract.ts';
import { type ArchiveWait, waitForArchive } from './archive-wait.ts';
import type { ChildEnding } from '../isolation/child.ts';
import { BLAME_OF_KILLED } from './losses.ts';

const OUTDATED_MS = 30_000;

/**
 * What the records are told about an ended child, as data:
 *
 * | ending                              | outcome   | then                                       |
 * | ----------------------------------- | --------- | ------------------------------------------ |
 * | result                              | success   | next step                                  |
 * | postponed                           | postponed | again at `until`, no slot held             |
 * | failed, the archive is away         | postponed | again after a growing delay, no retry used |
 * | failed, the catalog is newer        | postponed | for a worker of that release, no retry used |
 * | failed, retryable, retries left     | retry     | again after the delay, same task id        |
 * | failed, fatal / operator / none left| failure   | stays until a person resumes it            |
 * | lost (signal, crash without report) | lost      | again soon; the records count              |
 * | failed, a process of its was killed | lost      | the same                                   |
 * | stopped: time limit, memory limit   | as failed with E_TIMEOUT, E_MEMORY_LIMIT               |
 * | stopped: shutdown, lease lost       | postponed | again at once, here or elsewhere           |
 * | stopped: pause, revoke              | none      | the records were changed by who stopped it |
 */
export function finishOf(
  ending: ChildEnding,
  { run, policy, wait }: { run: TaskRun; policy: RetryPolicy; wait: ArchiveWait },
  now: Date,
): Finish | null {
  switch (ending.kind) {
    case 'result':
      return { outcome: 'success', result: ending.result };
    case 'postponed':
      return {
        outcome: 'postponed',
        reason: ending.reason,
        next_attempt_at: ending.until,
        ...(ending.progress === null ? {} : { result: ending.progress }),
      };
    case 'failed':
      return (
        waitForArchive(ending.error, wait, policy.delay_seconds, now) ??
        failed(ending.error, run, policy, now)
      );
    case 'lost':
      return { outcome: 'lost', reason: ending.reason, blame: ending.blame };
    case 'stopped':
      return stopped(ending.error, run, policy, now);
  }
}

function stopped(error: LongshoreError, run: TaskRun, policy: RetryPolicy, now: Date): Finish | null {
  if (error.code === 'E_TIMEOUT' || error.code === 'E_MEMORY_LIMIT')
    return failed(reportOf(error), run, policy, now);
  if (error.code === 'E_REVOKED') return null;
  return { outcome: 'postponed', reason: error.message, next_attempt_at: now.toISOString() };
}

function failed(error: ErrorReport, run: TaskRun, policy: RetryPolicy, now: Date): Finish {
  // Not a fault of the task, and nothing was published: the owner of the job runs it.
  if (error.code === 'E_LEASE_LOST')
    return { outcome: 'postponed', reason: error.message, next_attempt_at: now.toISOString() };
  if (error.code === 'E_HELPER_LOST')
    return { outcome: 'lost', reason: error.message, blame: BLAME_OF_KILLED };
  // Another process was upgraded first: those that were, and this one when it is, can do the step.
  if (error.code === 'E_OUTDATED')
    return {
      outcome: 'postponed',
      reason: error.message,
      next_attempt_at: new Date(now.getTime() + OUTDATED_MS).toISOString(),
    };
  if (error.class !== 'retryable' || run.retries >= policy.max) return { outcome: 'failure', error };
  return {
    outcome: 'retry',
    error,
    next_attempt_at: new Date(now.getTime() + policy.delay_seconds * 1000).toISOString(),
    reason: `${error.code}: try ${run.retries + 1} of ${policy.max + 1} failed; tried again in ${policy.delay_seconds} s`,
  };
}

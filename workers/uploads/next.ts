/** What is to be done about an upload: the table of spec 8.5, as a pure function. */
import type { TaskStatus } from '../records/contract.ts';
import type { UploadLog } from './contract.ts';

/** The task that verifies it, as the records know it. */
export interface TaskSeen {
  readonly status: TaskStatus;
  /** Taken out for good; a task that was only paused goes on when somebody resumes it. */
  readonly taken_out: boolean;
  /** Why it failed. */
  readonly failure: string | null;
}

export interface Patience {
  /** Of a verification that nobody is at work on. */
  readonly timeout_ms: number;
  /** Of one that is at work: all its tries within their limits, and the waits between them. */
  readonly at_work_ms: number;
  readonly max_retries: number;
}

export type Next =
  | { readonly do: 'wait'; readonly why: string }
  /** `task_id`: the one that it was promised already; null: it gets a new one. */
  | { readonly do: 'verify'; readonly task_id: string | null }
  | { readonly do: 'verified' }
  | { readonly do: 'reject'; readonly reason: string }
  /** Land it. `retry`: it was tried before. */
  | { readonly do: 'land'; readonly retry: boolean }
  | { readonly do: 'give up'; readonly reason: string };

/** A verification that somebody has just asked for gets its task id within this time. */
const ID_WITHIN_MS = 5 * 60_000;

/**
 * | status            | its task                                  | next                                    |
 * | ----------------- | ----------------------------------------- | --------------------------------------- |
 * | UPLOADED          |                                           | verify, under a new task id             |
 * | VERIFYING         | no id, for less than 5 min                | wait                                    |
 * |                   | no id, for longer                         | verify, under a new task id             |
 * |                   | an id that the records do not know        | verify, under that id; reject when late |
 * |                   | SUCCESS                                   | verified                                |
 * |                   | FAILURE, or taken out                     | reject                                  |
 * |                   | PENDING, STARTED, RETRY, or paused        | wait; reject when its limits are over   |
 * | VERIFIED          |                                           | land                                    |
 * | PROCESSING_FAILED | tried fewer than max_retries times again  | land, as a retry                        |
 * |                   | else                                      | give up                                 |
 * | another           |                                           | wait                                    |
 */
export function nextOf(log: UploadLog, task: TaskSeen | null, patience: Patience, now: number): Next {
  switch (log.status) {
    case 'UPLOADED':
      return { do: 'verify', task_id: null };
    case 'VERIFYING':
      return nextOfVerification(log, task, patience, now);
    case 'VERIFIED':
      return { do: 'land', retry: false };
    case 'PROCESSING_FAILED':
      if (log.retry_count < patience.max_retries) return { do: 'land', retry: true };
      return { do: 'give up', reason: `it was tried ${log.retry_count} times again` };
    default:
      return { do: 'wait', why: `it is ${log.status}` };
  }
}

function nextOfVerification(log: UploadLog, task: TaskSeen | null, patience: Patience, now: number): Next {
  const age_ms = now - verifyingSince(log, now);
  const task_id = verificationTaskOf(log);
  if (task_id === null) {
    if (age_ms < ID_WITHIN_MS) return { do: 'wait', why: 'its verification has no task id yet' };
    return { do: 'verify', task_id: null };
  }
  // Whoever promised it died before it was queued, or the records were lost.
  if (task === null)
    return age_ms > patience.timeout_ms ? tooLate(age_ms, 'unknown') : { do: 'verify', task_id };
  switch (task.status) {
    case 'SUCCESS':
      return { do: 'verified' };
    case 'FAILURE':
      return { do: 'reject', reason: task.failure ?? 'its verification failed' };
    case 'REVOKED':
      if (task.taken_out) return { do: 'reject', reason: 'its verification was taken out of the queue' };
      break;
    case 'PENDING':
    case 'STARTED':
    case 'RETRY':
      break;
  }
  if (age_ms > Math.max(patience.timeout_ms, patience.at_work_ms)) return tooLate(age_ms, task.status);
  return { do: 'wait', why: `its verification is ${task.status}` };
}

const tooLate = (age_ms: number, status: string): Next => ({
  do: 'reject',
  reason: `verification timeout: it has been VERIFYING for ${(age_ms / 3_600_000).toFixed(1)} h, its task is ${status}`,
});

export function verificationTaskOf({ metadata }: Pick<UploadLog, 'metadata'>): string | null {
  const { verification_task_id: id } = metadata;
  return typeof id === 'string' && id !== '' ? id : null;
}

/** A date that cannot be read is as new as can be: what is unknown must not fail an upload. */
function verifyingSince({ metadata, updated_at }: UploadLog, now: number): number {
  for (const date of [metadata.verification_started_at, updated_at]) {
    const at = typeof date === 'string' ? timeOf(date) : Number.NaN;
    if (!Number.isNaN(at)) return at;
  }
  return now;
}

/** As the API writes it (`…Z`), and as the reference's workers did: UTC without a zone, six digits of a second. */
function timeOf(date: string): number {
  const zoned = /(?:Z|[+-]\d\d:?\d\d)$/i.test(date);
  return Date.parse(zoned ? date : `${date.replace(' ', 'T')}Z`);
}

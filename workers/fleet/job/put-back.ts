/** Jobs that are not taken, or not yet: back to the queue. BullMQ is told by the errors that it knows. */
import { DelayedError, type Job, WaitingError } from 'bullmq';
import type { JobData } from '../../queue/jobs.ts';
import type { WorkerParts } from './attempt.ts';

/** A job that cannot be taken now (records away, or the queue ahead of them) is looked at again after this. */
export const LOOK_AGAIN_MS = 1_000;

/** To the front of its priority, for another worker; it was not begun. */
export async function giveBack(parts: WorkerParts, job: Job<JobData>, token: string): Promise<never> {
  await job.moveToWait(token).catch((error: unknown) => {
    parts.log.warn({ err: error, ...job.data }, 'a job could not be given back by this worker');
  });
  throw new WaitingError();
}

/** Later, and the slot is free until then. */
export async function putOff(
  parts: WorkerParts,
  job: Job<JobData>,
  token: string,
  until: number,
): Promise<never> {
  try {
    const priority = await parts.side.shares.again(job.queueName, job.priority);
    if (priority !== job.priority) await job.changePriority({ priority });
    await job.moveToDelayed(until, token);
  } catch (error) {
    // The lock or the whole job is gone: another worker has it, or the queue lost it and it will be put back.
    parts.log.warn({ err: error, ...job.data }, 'a job could not be put back by this worker');
  }
  throw new DelayedError();
}

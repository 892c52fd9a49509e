import { type Job, Worker } from 'bullmq';
import type { JobData } from '../queue/jobs.ts';

/**
 * BullMQ's worker, with the proof that it works: when it last got an answer to "is there a job?". No event tells that:
 * `drained` comes once and not again while the queue stays empty, so a worker that is stuck and one that has nothing to
 * do would look the same.
 */
export class AskingWorker extends Worker<JobData> {
  /** performance.now() of the last answer, whether a job or none. */
  asked_at = performance.now();

  /**
   * In seconds. BullMQ waits up to ten for a delayed job; with two, a worker that has a free slot asks at least that
   * often, and what is silent for longer is stuck.
   */
  override get maximumBlockTimeout(): number {
    return 2;
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job<JobData>> {
    const job = await super.moveToActive(token, name);
    this.asked_at = performance.now();
    return job;
  }
}

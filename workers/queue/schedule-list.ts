/** Looking at the schedules of the fleet, and asking for a run by hand. */
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { openScheduleRuns, type ScheduleRun, type ScheduleSkip, STARTS_WITHIN_MS } from './schedule-runs.ts';
import { holderOf } from './script-lock.ts';
import { type Schedule, scheduleId, TICK_OPTIONS, type TickJob, type TickQueue } from './tick-queue.ts';

export interface ScheduleState extends Schedule {
  readonly id: string;
  /** Null: no worker has published it yet. */
  readonly next: string | null;
  readonly last_run: ScheduleRun | null;
  readonly last_skip: ScheduleSkip | null;
  /** `host:pid` of the script, whoever started it. */
  readonly running_at: string | null;
  /** The last run says that it runs, and nobody holds its lock: its script or worker died. */
  readonly lost: boolean;
}

export async function listSchedules(
  config: Config,
  queue: TickQueue,
  redis: Redis,
): Promise<ScheduleState[]> {
  const known = new Map((await queue.getJobSchedulers(0, -1)).map((one) => [one.key, one]));
  const runs = openScheduleRuns(config, redis);
  return Promise.all(
    config.schedules.map(async (schedule) => {
      const id = scheduleId(schedule);
      const { run, skip } = await runs.last(id);
      const running_at = await holderOf(config, redis, schedule.script);
      const next = known.get(id)?.next;
      return {
        ...schedule,
        id,
        next: next === undefined ? null : new Date(next).toISOString(),
        last_run: run,
        last_skip: skip,
        running_at,
        lost: running_at === null && run !== null && isLost(run),
      };
    }),
  );
}

const isLost = ({ outcome, started_at }: ScheduleRun): boolean =>
  outcome === 'running' && Date.now() - Date.parse(started_at) > STARTS_WITHIN_MS;

/** Given to the fleet as a turn of its own: the lock of the script keeps it from overlapping with another. */
export function askForRun(queue: TickQueue, { script, args, missed }: Schedule): Promise<TickJob> {
  return queue.add(script, { script, args: [...args], missed, by_hand: true }, TICK_OPTIONS);
}

export type AskedRun =
  | { readonly state: 'waiting' | 'running' }
  | { readonly state: 'done' | 'skipped' }
  | { readonly state: 'failed'; readonly reason: string };

export async function lookAtRun(queue: TickQueue, job_id: string): Promise<AskedRun> {
  const job = await queue.getJob(job_id);
  if (job === undefined) return { state: 'failed', reason: 'Redis does not know it any more' };
  const state = await job.getState();
  if (state === 'failed') return { state, reason: (await queue.getJob(job_id))?.failedReason ?? 'unknown' };
  if (state === 'completed')
    return { state: (await queue.getJob(job_id))?.returnvalue === 'skipped' ? 'skipped' : 'done' };
  return { state: state === 'active' ? 'running' : 'waiting' };
}

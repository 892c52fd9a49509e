/** What became of the turns of each schedule: two entries in Redis for each, whichever worker had the turn. */
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { turnEnd } from './turn-end.ts';

/** A script that was started takes its lock within this time. */
export const STARTS_WITHIN_MS = 60_000;

export interface ScheduleRun {
  /** Of its BullMQ job. */
  readonly job_id: string;
  /** When it should have begun; null when a person asked for it. */
  readonly due: string | null;
  readonly started_at: string;
  /** Null while it runs. */
  readonly ended_at: string | null;
  readonly outcome: 'running' | 'done' | 'failed';
  readonly reason: string | null;
  /** `host:pid` of the worker that started it. */
  readonly worker: string;
}

/** A turn that began nothing; kept apart, so that it does not hide the run that it found. */
export interface ScheduleSkip {
  readonly at: string;
  readonly due: string | null;
  /** `busy`: the run before was still active. `missed`: no worker was there when it was due, and the policy is to leave it out. */
  readonly why: 'busy' | 'missed';
}

export interface ScheduleRuns {
  putRun(id: string, run: ScheduleRun): Promise<void>;
  putSkip(id: string, skip: ScheduleSkip): Promise<void>;
  /** Of a run whose worker has left, its end is what its script told. */
  last(id: string): Promise<{ run: ScheduleRun | null; skip: ScheduleSkip | null }>;
  /** Drops what is known of schedules that are no more. */
  keepOnly(ids: readonly string[]): Promise<void>;
}

export function openScheduleRuns(config: Config, redis: Redis): ScheduleRuns {
  const key = `${config.queue.prefix}:${config.app_id}:schedule-runs`;
  return {
    putRun: async (id, run) => {
      await redis.hset(key, `run ${id}`, JSON.stringify(run));
    },
    putSkip: async (id, skip) => {
      await redis.hset(key, `skip ${id}`, JSON.stringify(skip));
    },
    last: async (id) => {
      const [run, skip] = await redis.hmget(key, `run ${id}`, `skip ${id}`);
      return {
        run: run == null ? null : await withEnd(config, redis, JSON.parse(run) as ScheduleRun),
        skip: skip == null ? null : (JSON.parse(skip) as ScheduleSkip),
      };
    },
    keepOnly: async (ids) => {
      const wanted = new Set(ids.flatMap((id) => [`run ${id}`, `skip ${id}`]));
      const gone = (await redis.hkeys(key)).filter((field) => !wanted.has(field));
      if (gone.length > 0) await redis.hdel(key, ...gone);
    },
  };
}

async function withEnd(config: Config, redis: Redis, run: ScheduleRun): Promise<ScheduleRun> {
  if (run.outcome !== 'running') return run;
  return { ...run, ...(await turnEnd(config, redis, run.job_id)) };
}

import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';

/** An attempt that runs now, as its worker sees it. */
export interface RunningJob {
  task_id: string;
  attempt: number;
  workflow_id: string;
  workflow: string;
  /** 0-based position of the step. */
  index: number;
  step: string;
  task: string;
  dataset_id: number | null;
  queue: string;
  since: string;
  /** As the task last reported it; null while nothing is known. */
  progress: Record<string, unknown> | null;
}

/** What a worker takes from one queue. */
export interface QueueSlots {
  queue: string;
  slots: number;
  min: number;
  max: number;
  busy: number;
  /** When it last got an answer from this queue: a job, or that there is none. */
  asked_at: string;
  /** When it last took a job. */
  consumed_at: string | null;
}

export interface Release {
  /** Of package.json. */
  version: string;
  /** Of the checkout, where it is one. */
  commit: string | null;
  /** Digest of the code and defaults that run: two workers with the same one do the same. */
  code: string;
}

/** A worker runs other code or configuration than its disk holds. */
export interface RestartDue {
  since: string;
  /** Changed files, by their place in the checkout. */
  files: readonly string[];
  /** It restarts at its first idle moment; else somebody must restart it. */
  by_itself: boolean;
  /** It was never idle within reload.idle_wait_seconds: a person should see to it all the same. */
  overdue: boolean;
}

/** How one worker of the fleet is. */
export interface WorkerEntry {
  name: string;
  host: string;
  pid: number;
  started_at: string;
  release: Release;
  /** What stays the same when pm2 starts it again; see fleet/control/seat.ts. */
  seat: string;
  /** Null: it runs what the disk holds, as far as it looks (reload.watch). */
  restart_due: RestartDue | null;
  /** `draining`: takes no more jobs. `leaving`: nor will it; it ends with the last job that runs. */
  state: 'working' | 'draining' | 'leaving';
  /** Why it takes no jobs although nobody told it to; null: it does as its state says. */
  suspended: string | null;
  queues: QueueSlots[];
  running: RunningJob[];
  /** Of the host, over one, five and fifteen minutes. */
  load: number[];
  /** Of the worker, in bytes, without its tasks. */
  rss: number;
}

export interface SeenWorker extends WorkerEntry {
  /** Since its last sign of life, in seconds. By the clock of Redis, so hosts whose clocks differ are compared fairly. */
  seen_seconds: number;
}

/** Which workers there are. Entries of dead ones go by themselves. */
export interface Registry {
  write(entry: WorkerEntry): Promise<void>;
  remove(name: string): Promise<void>;
  /** Ordered by host, then by the start. */
  list(): Promise<SeenWorker[]>;
  /** A host whose workers take no jobs, also those that are started there later. */
  setDrained(host: string, drained: boolean): Promise<void>;
  isDrained(host: string): Promise<boolean>;
  drainedHosts(): Promise<string[]>;
  /** The same for one worker, by its seat. */
  setWorkerDrained(seat: string, drained: boolean): Promise<void>;
  isWorkerDrained(seat: string): Promise<boolean>;
  /** Seats. */
  drainedWorkers(): Promise<string[]>;
}

/** Heartbeats that may be missed before a worker counts as dead. */
const MISSED = 5;
const LEAST_LIFE_MS = 5_000;

/**
 * A set of names, and one key per worker that ends by itself. Not one hash with an expiry for each field: that needs
 * Redis 7.4, and 7.0 is what distributions ship. A name whose key is gone is taken out by whoever lists; should its
 * worker have been merely slow, its next heartbeat puts it in again.
 */
export function createRegistry(config: Config, redis: Redis): Registry {
  const base = `${config.queue.prefix}:${config.app_id}`;
  const names = `${base}:workers`;
  const drained = `${base}:drained-hosts`;
  const seats = `${base}:drained-workers`;
  const keyOf = (name: string): string => `${names}:${name}`;
  const life_ms = Math.max(LEAST_LIFE_MS, config.fleet.heartbeat_seconds * 1000 * MISSED);
  return {
    write: async (entry) => {
      await redis
        .multi()
        .set(keyOf(entry.name), JSON.stringify(entry), 'PX', life_ms)
        .sadd(names, entry.name)
        .exec();
    },
    remove: async (name) => {
      if (redis.status !== 'ready') return; // It ends by itself; whoever leaves does not wait for Redis.
      await redis.multi().del(keyOf(name)).srem(names, name).exec();
    },
    list: async () => {
      const known = await redis.smembers(names);
      const seen = await Promise.all(known.map((name) => lookUp(redis, keyOf(name), life_ms)));
      const gone = known.filter((_, at) => seen[at] === null);
      if (gone.length > 0) await redis.srem(names, ...gone);
      return seen.filter((worker) => worker !== null).toSorted(byHostAndStart);
    },
    setDrained: async (host, on) => {
      if (on) await redis.sadd(drained, host);
      else await redis.srem(drained, host);
    },
    isDrained: async (host) => (await redis.sismember(drained, host)) === 1,
    drainedHosts: async () => (await redis.smembers(drained)).toSorted(),
    setWorkerDrained: async (seat, on) => {
      if (on) await redis.sadd(seats, seat);
      else await redis.srem(seats, seat);
    },
    isWorkerDrained: async (seat) => (await redis.sismember(seats, seat)) === 1,
    drainedWorkers: async () => (await redis.smembers(seats)).toSorted(),
  };
}

async function lookUp(redis: Redis, key: string, life_ms: number): Promise<SeenWorker | null> {
  const [text, left] = await Promise.all([redis.get(key), redis.pttl(key)]);
  if (text === null) return null;
  // Negative: it ended between the two looks.
  const seen_seconds = Math.max(0, life_ms - Math.max(0, left)) / 1000;
  return { ...(JSON.parse(text) as WorkerEntry), seen_seconds };
}

const byHostAndStart = (one: WorkerEntry, other: WorkerEntry): number =>
  one.host.localeCompare(other.host) ||
  one.started_at.localeCompare(other.started_at) ||
  one.name.localeCompare(other.name);

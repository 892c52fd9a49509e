/** What workers decided about their slots and processes, kept in Redis for a while, so that people can ask why. */
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';

export interface ScaleEntry {
  at: string;
  /** Name of the worker whose slots, or of the host whose processes. */
  who: string;
  of: 'slots' | 'processes';
  /** `hand back`: a job that ran; from and to are the jobs in hand then. */
  action: 'grow' | 'shrink' | 'hold' | 'hand back';
  from: number;
  to: number;
  reason: string;
}

/** Of each worker. A worker that decides every second of a bad hour holds back, and tells that once. */
const KEPT = 100;
const KEPT_SECONDS = 7 * 86_400;

/** One set of names beside the lists: finding the lists with SCAN would walk over every job that waits. */
const indexKey = (config: Config): string => `${config.queue.prefix}:${config.app_id}:scale`;
const listKey = (config: Config, who: string): string => `${indexKey(config)}:${who}`;

export async function rememberScale(redis: Redis, config: Config, entry: ScaleEntry): Promise<void> {
  const list = listKey(config, entry.who);
  const at = Date.parse(entry.at);
  await redis
    .multi()
    .lpush(list, JSON.stringify(entry))
    .ltrim(list, 0, KEPT - 1)
    .expire(list, KEPT_SECONDS)
    .zadd(indexKey(config), at, entry.who)
    .zremrangebyscore(indexKey(config), '-inf', at - KEPT_SECONDS * 1000)
    .expire(indexKey(config), KEPT_SECONDS)
    .exec();
}

/** Newest first, of all workers. */
export async function scaleHistory(redis: Redis, config: Config, limit: number): Promise<ScaleEntry[]> {
  const names = await redis.zrevrange(indexKey(config), 0, -1);
  const lists = await Promise.all(names.map((who) => redis.lrange(listKey(config, who), 0, limit - 1)));
  return lists
    .flat()
    .map((text) => JSON.parse(text) as ScaleEntry)
    .toSorted((one, other) => other.at.localeCompare(one.at))
    .slice(0, limit);
}

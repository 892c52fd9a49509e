/** A Redis that is there and refuses what it is told to, for as long as it is in trouble: how the fleet waits for its end. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { coerceError, type LongshoreError } from '../errors.ts';
import { redisWord } from '../redis-answer.ts';
import type { Logger } from '../log.ts';

/** Full, unable to write to its disk, reading it after a start, in a failover, or without its replicas. */
const FOR_NOW = new Set([
  'OOM',
  'MISCONF',
  'LOADING',
  'READONLY',
  'MASTERDOWN',
  'NOREPLICAS',
  'CLUSTERDOWN',
  'TRYAGAIN',
]);
const AGAIN_MS = 1_000;

/** It passes without a change on our side, as a Redis that is away does. */
export const refusesForNow = (error: unknown): boolean => FOR_NOW.has(redisWord(error));

/** Asks again until Redis says anything else than that it cannot now. */
export async function patiently<T>(
  ask: () => Promise<T>,
  onRefusal: (error: unknown) => void = () => undefined,
): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!refusesForNow(error)) throw error;
      onRefusal(error);
      await sleep(AGAIN_MS);
    }
  }
}

/** A write that leaves nothing. In a transaction, because a replica's refusal of that is answered, never sent again. */
export async function proveWritable(redis: Redis, prefix: string): Promise<void> {
  const replies = await redis.multi().set(`${prefix}:probe`, '', 'PX', AGAIN_MS).exec();
  const [error] = replies?.[0] ?? [];
  if (error) throw error;
}

/** For whoever only looks: what it says to a write; null: it takes it. */
export async function whyRefused(redis: Redis, prefix: string): Promise<LongshoreError | null> {
  try {
    await proveWritable(redis, prefix);
    return null;
  } catch (error) {
    if (!refusesForNow(error)) throw error;
    return coerceError(error);
  }
}

/** All parts of a process meet the same refusal, many every second: the log tells its begin and its end. */
export interface Refusals {
  /** Some part was refused, and Redis has taken no write since. */
  readonly refusing: boolean;
  /** True: it passes by itself, and is told. False: it is something else, which the caller has to tell. */
  readonly met: (error: unknown) => boolean;
  /** Does it again until Redis lets it. */
  through<T>(step: () => Promise<T>): Promise<T>;
  close(): void;
}

export function createRefusals(redis: Redis, prefix: string, log: Logger): Refusals {
  const closing = new AbortController();
  let refusing = false;
  const untilOver = async (): Promise<void> => {
    const { signal } = closing;
    while (refusing && !signal.aborted) {
      await sleep(AGAIN_MS, undefined, { signal, ref: false }).catch(() => undefined);
      if (!signal.aborted) refusing = await proveWritable(redis, prefix).then(() => false, refusesForNow);
    }
    if (!signal.aborted) log.info('Redis does what it is told to again');
  };
  const met = (error: unknown): boolean => {
    if (!refusesForNow(error)) return false;
    if (refusing) return true;
    refusing = true;
    const { message, hint } = coerceError(error);
    log.warn({ reason: message, hint }, 'Redis does not do what it is told to; waiting for it');
    void untilOver();
    return true;
  };
  return {
    get refusing() {
      return refusing;
    },
    met,
    through: (step) => patiently(step, met),
    close: () => closing.abort(),
  };
}

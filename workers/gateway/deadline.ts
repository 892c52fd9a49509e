import { setTimeout as sleep } from 'node:timers/promises';
import { coerceError, LongshoreError } from '../errors.ts';

/** Gives up waiting after a while. For work that was begun when everybody had answered. @throws E_REDIS_UNAVAILABLE */
export type Within = <T>(work: Promise<T>) => Promise<T>;

/** Commands that are given to a Redis that goes away wait for it, however long; a caller does not. */
export function within(seconds: number): Within {
  return async (work) => {
    const waiting = new AbortController();
    const late = sleep(seconds * 1000, undefined, { signal: waiting.signal }).then(
      () => {
        throw new LongshoreError(
          'E_REDIS_UNAVAILABLE',
          `Redis went away and was not back within ${seconds} s`,
          {
            hint: 'The records hold what was asked for; the queue follows when Redis is back. Look before you repeat it.',
          },
        );
      },
      () => undefined as never,
    );
    // Given up, not stopped: it is carried out when Redis is back, and its failure is nobody's any more.
    work.catch(() => undefined);
    try {
      return await Promise.race([work, late]);
    } catch (error) {
      throw coerceError(error).code === 'E_MONGODB_UNAVAILABLE' ? goneMeanwhile(error) : error;
    } finally {
      waiting.abort();
    }
  };
}

export const isRedisAway = (error: unknown): boolean => coerceError(error).code === 'E_REDIS_UNAVAILABLE';

const goneMeanwhile = (error: unknown): LongshoreError =>
  new LongshoreError('E_MONGODB_UNAVAILABLE', `in the middle of it ${(error as Error).message}`, {
    hint: 'What was asked for may be done, or be done when MongoDB is back. Look before you repeat it.',
    cause: error,
  });

import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { type FitnessWatch, watchFitness } from '../queue/fitness.ts';
import { openQueueSide, type QueueSide } from '../queue/side.ts';
import type { Store } from '../store.ts';
import { shareOf } from './share.ts';

export interface EngineParts {
  config: Config;
  store: Store;
  log: Logger;
  /** How long an operation waits for a Redis that was never reached; default 10 s, then E_REDIS_UNAVAILABLE. */
  wait_seconds?: number;
  /** Of a process that stays: it tells in its log that Redis is away, or may drop jobs. */
  stays?: boolean;
  /** Of a process that has one already; the engine does not close it. */
  queue_side?: QueueSide;
}

/** What every operation of the engine is given. */
export interface Ground {
  config: Config;
  store: Store;
  side: () => Promise<QueueSide>;
  log: Logger;
}

export const WAIT_SECONDS = 10;

/** One attempt to connect at a time; a failed one is forgotten, so that the next operation tries again. */
export function lazySide({
  config,
  store,
  log,
  wait_seconds = WAIT_SECONDS,
  stays,
  queue_side,
}: EngineParts): {
  side: () => Promise<QueueSide>;
  close: () => Promise<void>;
} {
  if (queue_side !== undefined) return { side: async () => queue_side, close: async () => undefined };
  let opening: Promise<QueueSide> | null = null;
  let watching: FitnessWatch | null = null;
  const open = async (): Promise<QueueSide> => {
    const opened = await openQueueSide(config, {
      log,
      wait_seconds,
      stays,
      name: 'longshore-engine',
      shareOf: shareOf(config, store, log),
    });
    if (stays) watching = watchFitness(opened.redis, log);
    return opened;
  };
  const side = (): Promise<QueueSide> => {
    opening ??= open().catch((error: unknown) => {
      opening = null;
      throw error;
    });
    return opening;
  };
  const close = async (): Promise<void> => {
    // A connection that was never made has told its failure to the operation that asked for it.
    const opened = await opening?.catch(() => null);
    watching?.stop();
    await opened?.close();
  };
  return { side, close };
}

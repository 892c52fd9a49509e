import { coerceError, type LongshoreError } from '../../workers/errors.ts';
import type { Engine } from '../../workers/workflows/engine.ts';

/**
 * Queues what a registration by hand has recorded; where it cannot, says so and who will.
 *
 * @param away the lock was asked of Redis in vain a moment ago: it is not waited for once more
 */
export const enqueueOrTell =
  (engine: Pick<Engine, 'enqueue'>, away: LongshoreError | null) =>
  async (id: string): Promise<unknown> => {
    try {
      if (away !== null) throw away;
      return await engine.enqueue(id);
    } catch (error) {
      process.stderr.write(
        `${coerceError(error).message}; what was registered is queued by the workers when it answers\n`,
      );
      throw error;
    }
  };

import { setTimeout as sleep } from 'node:timers/promises';
import type { Trouble } from '../trouble.ts';

export interface Repetition {
  /** No further turn; resolves when the one under way has ended. */
  stop(): Promise<void>;
}

/**
 * One turn after the other with a pause in between, so that a slow one is never overtaken by the next. A failure is told,
 * and the next turn comes; what fails after `stop` is nobody's concern any more.
 */
export function repeat(pause_seconds: number, turn: () => Promise<void>, trouble: Trouble): Repetition {
  const stopping = new AbortController();
  const { signal } = stopping;
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      await turn().then(
        () => trouble.over(),
        (error: unknown) => {
          if (!signal.aborted) trouble.met(error);
        },
      );
      await sleep(pause_seconds * 1000, undefined, { signal }).catch(() => undefined);
    }
  };
  const running = loop();
  return {
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

/** A server that is away stops nothing with an error for minutes; who looks for the reason finds it in the log. */
import type { Logger } from '../log.ts';

export interface OutageTeller {
  goesOn(waited_ms: number, reason: unknown): Promise<void>;
  isOver(): Promise<void>;
}

/** Another primary is there sooner than that, as a rule. */
const TELL_AFTER_MS = 3_000;

/** Tells each outage once, and its end. */
export function outageTeller(database: string): OutageTeller {
  let told = false;
  return {
    goesOn: async (waited_ms, reason) => {
      if (told || waited_ms < TELL_AFTER_MS) return;
      told = true;
      const facts = { database, reason: reason instanceof Error ? reason.message : String(reason) };
      (await logger()).warn(facts, 'MongoDB does not answer; what is asked of it waits');
    },
    isOver: async () => {
      if (!told) return;
      told = false;
      (await logger()).info({ database }, 'MongoDB answers again');
    },
  };
}

/** Loaded where it is wanted: it costs every process of a task 15 ms. On stderr, as stdout may be what a command answers. */
async function logger(): Promise<Logger> {
  const { createLogger } = await import('../log.ts');
  return createLogger('mongodb', {}, { to: 2 });
}

import type { Config } from '../../../config/index.ts';
import { coerceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { connectRedis } from '../../queue/connection.ts';
import { proveWritable, type Refusals } from '../../queue/refusals.ts';
import { troubleTeller } from '../../trouble.ts';
import { repeat, type Repetition } from '../repeat.ts';
import type { Slots } from '../slots.ts';

const LOOK_EVERY_SECONDS = 1;
/** A look that comes this late says that the whole process stood still (SIGSTOP, a suspended machine), not its loop. */
const STOOD_STILL_MS = 5_000;
const ANSWER_WITHIN_SECONDS = 5;

export interface WatchState {
  /** Since when the queue could have been asked and was not. */
  readonly since: number;
  readonly looked_at: number;
}

export interface WatchFacts {
  /** A slot is free and nobody told the worker to take no jobs: then it asks its queue every two seconds. */
  readonly asking: boolean;
  readonly asked_at: number;
}

/** One look at a worker's loop, and how long it owes a sign of life. All times are of one monotonic clock, in ms. */
export function watch(
  state: WatchState,
  { asking, asked_at }: WatchFacts,
  now: number,
): { state: WatchState; silent_ms: number } {
  const excused = !asking || now - state.looked_at > STOOD_STILL_MS;
  const since = excused ? now : Math.max(state.since, asked_at);
  return { state: { since, looked_at: now }, silent_ms: now - since };
}

export interface WatchdogParts {
  config: Config;
  slots: readonly Slots[];
  refusals: Pick<Refusals, 'refusing'>;
  log: Logger;
}

/**
 * Proves that jobs are taken, for each queue of this worker. One that has not asked for config.fleet.watchdog_seconds
 * although a slot is free is stuck; `onStuck` is called once, with what to say. But not while Redis is away or takes no
 * writes (it is full, or a replica): then nobody can ask, and a restart would only give up the tasks that run. That is found
 * out with a write over a connection of its own, because the worker's may be the one that is dead.
 */
export function startWatchdog(
  { config, slots, refusals, log }: WatchdogParts,
  onStuck: (reason: string) => void,
): Repetition {
  const limit_ms = config.fleet.watchdog_seconds * 1000;
  const begun = performance.now();
  const states = new Map<Slots, WatchState>(
    slots.map((one) => [one, { since: begun, looked_at: begun }] as const),
  );
  /** Stopped, or it has said so already. */
  let over = false;
  /** Why it left the worker alone when it looked last, and has not been asked since. */
  let excuse: { trouble: string; at: number } | null = null;
  const factsOf = (one: Slots): WatchFacts => ({
    asking: !one.held && one.busy < one.count && !refusals.refusing,
    asked_at: one.asked_at,
  });

  const look = async (one: Slots): Promise<void> => {
    const now = performance.now();
    const before = states.get(one) ?? { since: now, looked_at: now };
    const { state, silent_ms } = watch(before, factsOf(one), now);
    states.set(one, state);
    if (excuse !== null && one.asked_at > excuse.at) excuse = null;
    if (silent_ms < limit_ms) return;
    const about = { queue: one.queue, silent_seconds: Math.round(silent_ms / 1000) };
    const trouble = await troubleOf(config, log);
    if (trouble !== null) {
      if (trouble !== excuse?.trouble)
        log.warn(about, `a queue was not asked for long, and ${trouble}; a restart would not help`);
      excuse = { trouble, at: now };
      return forgive(one);
    }
    // It may have come back while we asked.
    if (over || !factsOf(one).asking || one.asked_at > now) return forgive(one);
    const free = one.count - one.busy;
    over = true;
    onStuck(
      `watchdog: queue ${one.queue} was not asked for ${about.silent_seconds} s although ${free} of ${one.count} slots are free and Redis answers`,
    );
  };
  const forgive = (one: Slots): void => {
    const now = performance.now();
    states.set(one, { since: now, looked_at: now });
  };
  const watching = repeat(
    LOOK_EVERY_SECONDS,
    async () => {
      for (const one of slots) if (!over) await look(one);
    },
    troubleTeller(log, { what: 'the watchdog could not look', end: 'the watchdog looks again' }),
  );
  return {
    stop: async () => {
      over = true;
      await watching.stop();
    },
  };
}

/** Whether Redis answers somebody who comes anew, and takes a write; null: it does both. */
async function troubleOf(config: Config, log: Logger): Promise<string | null> {
  const quiet = log.child({}, { level: 'silent' });
  try {
    const redis = await connectRedis(config, {
      log: quiet,
      wait_seconds: ANSWER_WITHIN_SECONDS,
      name: 'longshore-watchdog',
    });
    try {
      await proveWritable(redis, config.queue.prefix);
      return null;
    } catch (error) {
      return coerceError(error).message;
    } finally {
      redis.disconnect();
    }
  } catch {
    return 'Redis does not answer';
  }
}

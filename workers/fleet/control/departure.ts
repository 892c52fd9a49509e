import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../log.ts';
import type { WorkerEntry } from '../../queue/registry.ts';
import type { Processor } from '../job/processor.ts';
import type { Slots } from '../slots.ts';

/** pm2 starts a worker that ended with this again: EX_TEMPFAIL. */
export const EXIT_AGAIN = 75;
/** Stands among `stop_exit_codes` of ecosystem.config.js: it was asked to leave, and stays down. */
export const EXIT_STAY_DOWN = 79;

const LOOK_EVERY_MS = 50;

export interface LeaveOrder {
  reason: string;
  /** Hand running jobs back instead of waiting for their ends. */
  immediate: boolean;
  /** Let pm2 start it again. */
  restart: boolean;
}

/**
 * How a worker stops taking jobs:
 *
 * | state      | takes jobs | by              | then                                       |
 * | ---------- | ---------- | --------------- | ------------------------------------------ |
 * | `working`  | yes        | start, release  |                                            |
 * | `draining` | no         | hold            | until it is released                       |
 * | `leaving`  | no         | begin           | `gone` when it has no job in hand; nothing undoes it |
 * | `leaving`  | no         | shutDown        | its process ends; nothing undoes it        |
 *
 * An immediate `begin` hastens one that waits already. A worker that is suspended takes no jobs in any state, until it is
 * resumed: Redis might drop them. Orders come and go meanwhile.
 */
export interface Departure {
  readonly state: WorkerEntry['state'];
  hold(): Promise<void>;
  /** False: it is leaving. */
  release(): boolean;
  begin(order: LeaveOrder): void;
  /** Whoever ends its process has stopped it from taking jobs; an order that still comes must not undo that. */
  shutDown(): void;
  /** The reason; null: it is not. */
  readonly suspended: string | null;
  suspend(reason: string): Promise<void>;
  resume(): void;
  /** The worker is to be shut down now, and its process to end with this code. */
  readonly gone: Promise<{ reason: string; code: number }>;
}

export function createDeparture(slots: readonly Slots[], processor: Processor, log: Logger): Departure {
  let state: WorkerEntry['state'] = 'working';
  let suspended: string | null = null;
  const gone = Promise.withResolvers<{ reason: string; code: number }>();
  const takeNothing = async (): Promise<void> => {
    processor.refuse(true);
    await Promise.all(slots.map((one) => one.hold()));
  };
  const takeAgain = (): void => {
    if (state !== 'working' || suspended !== null) return;
    processor.refuse(false);
    for (const one of slots) one.release();
  };
  const hold = async (): Promise<void> => {
    if (state === 'working') state = 'draining';
    await takeNothing();
  };
  const leave = async ({ reason, immediate, restart }: LeaveOrder): Promise<void> => {
    const running = processor.running.size;
    log.info({ reason, immediate, restart, running }, 'worker is leaving');
    await hold();
    // No deadline: a copy to tape may go on for hours, and whoever cannot wait says so.
    if (!immediate) while (processor.inHand.size > 0) await sleep(LOOK_EVERY_MS);
    gone.resolve({ reason, code: restart ? EXIT_AGAIN : EXIT_STAY_DOWN });
  };
  return {
    get state() {
      return state;
    },
    hold,
    release: () => {
      if (state === 'leaving') return false;
      state = 'working';
      takeAgain();
      return true;
    },
    get suspended() {
      return suspended;
    },
    suspend: async (reason) => {
      suspended = reason;
      await takeNothing();
    },
    resume: () => {
      suspended = null;
      takeAgain();
    },
    begin: (order) => {
      if (state === 'leaving' && !order.immediate) return;
      state = 'leaving';
      leave(order).catch((error: unknown) => log.error({ err: error }, 'the worker could not leave'));
    },
    shutDown: () => {
      state = 'leaving';
    },
    gone: gone.promise,
  };
}

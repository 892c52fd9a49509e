/**
 * Brings what waits in the spool to the API.
 *
 * | the API says                              | the entry                                                        |
 * | ----------------------------------------- | ---------------------------------------------------------------- |
 * | yes                                       | is gone                                                          |
 * | no answer, 429, 502, 503, HTML            | waits, and so does everything: the API is away                   |
 * | 500, 504, 401, 403                        | waits, and its lane with it                                      |
 * | no (400, 404, 409)                        | is the caller's error, or is set aside when he is not there      |
 *
 * Whoever has the store open takes part; a lane is one process's at a time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { coerceError, type ErrorCode, isLongshoreError, type LongshoreError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { isDue, type NewEntry, type Spool, type SpoolEntry } from './spool.ts';

export interface Delivery {
  /**
   * Adds it and tries to deliver what its lane has up to it. Answers what the API did, or null when it has to wait.
   *
   * @throws what the API refuses for good about this entry, which is not kept then
   */
  send(entry: NewEntry): Promise<{ answer: unknown } | null>;
  /** Tries to empty the lane; false when something waits. */
  flush(lane: string): Promise<boolean>;
  /** Something waits there. */
  waits(lane: string): Promise<boolean>;
  /** True while the API is to be left alone: it did not answer a moment ago. */
  isDown(): Promise<boolean>;
  /** True from the first request that had no answer to the next one that has. */
  isAway(): Promise<boolean>;
  /** An answer of the API to anything else: it is back (null), or away. */
  noteHealth(failure: LongshoreError | null): Promise<void>;
  stop(): Promise<void>;
}

const FINAL: ReadonlySet<ErrorCode> = new Set([
  'E_API_NOT_FOUND',
  'E_API_CONFLICT',
  'E_API_REQUEST',
  'E_VALUE',
]);
const AWAY: ReadonlySet<ErrorCode> = new Set(['E_API_UNAVAILABLE', 'E_API_ANSWER']);

/** The same request gets the same answer; to repeat it is of no use. */
const isFinal = (error: LongshoreError): boolean =>
  FINAL.has(error.code) || (error.code === 'E_API_ANSWER' && error.class === 'fatal');
export const isAway = (error: unknown): boolean =>
  isLongshoreError(error) && AWAY.has(error.code) && !isFinal(error);

const LONGEST_PAUSE_MS = 60_000;
const LOOK_MS = 2_000;
/** For another process that delivers the lane right now. */
const TURN_MS = 5_000;

export function createDelivery(parts: {
  spool: Spool;
  /** `doubtful`: an earlier try may have been carried out. */
  carryOut: (entry: SpoolEntry, doubtful: boolean) => Promise<unknown>;
  log: Logger;
  /** Of all pauses; config.api.delay_scale. */
  scale: number;
}): Delivery {
  const { spool, log } = parts;
  const stopping = new AbortController();
  const patience = Math.max(250, TURN_MS * parts.scale);
  const pauseOf = (failures: number): number =>
    Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** Math.min(failures, 10)) * parts.scale;
  let running: Promise<void> | null = null;
  let timer: NodeJS.Timeout | null = setTimeout(look, LOOK_MS * parts.scale).unref();

  async function noteHealth(failure: LongshoreError | null): Promise<void> {
    const before = await spool.health();
    if (failure === null) {
      if (before.failures > 0) await spool.setHealth({ failures: 0, down_until: 0 });
      return;
    }
    // Of many who ask at once each one hears of the same outage.
    if (!isDue(before.down_until)) return;
    const failures = before.failures + 1;
    if (failures === 1)
      log.warn({ err: failure }, 'the API is away; what it has to be told waits in the spool');
    await spool.setHealth({ failures, down_until: Date.now() + pauseOf(failures) });
  }
  const isDown = async (): Promise<boolean> => !isDue((await spool.health()).down_until);

  /** Another process may have it right now. */
  async function takeLane(lane: string, patience: number): Promise<boolean> {
    const deadline = Date.now() + patience;
    for (;;) {
      if (await spool.take(lane)) return true;
      if (Date.now() >= deadline) return false;
      await sleep(20);
    }
  }

  /** The lane's entries in order, until it is empty, something has to wait, or `mine` was refused. */
  async function empty(lane: string, mine: number | null): Promise<{ answer: unknown } | null> {
    let answered: { answer: unknown } | null = null;
    for (;;) {
      // Renewed for each of them.
      if (stopping.signal.aborted || !(await takeLane(lane, mine === null ? 0 : patience))) return answered;
      const entry = await spool.first(lane);
      if (entry === null || !isDue(entry.due_at)) return answered;
      try {
        await spool.begun(entry.id);
        const answer = await parts.carryOut(entry, entry.attempts > 0);
        await spool.done(entry.id);
        await noteHealth(null);
        if (entry.id === mine) answered = { answer };
      } catch (thrown) {
        const error = coerceError(thrown);
        if (isFinal(error)) {
          if (entry.id === mine) {
            await spool.done(entry.id);
            throw error;
          }
          log.error({ err: error, entry }, 'the API refuses a change for good; it is set aside in the spool');
          await spool.refused(entry.id, `${error.code}: ${error.message}`);
          continue;
        }
        if (isAway(error)) await noteHealth(error);
        else if (entry.attempts === 0)
          log.warn({ err: error, lane }, 'the API could not take a change; it waits in the spool');
        await spool.later(entry.id, Date.now() + pauseOf(entry.attempts + 1));
        return answered;
      }
    }
  }

  /** Of this process, so that two who send at once do not deliver the same entry. */
  const turns = new Map<string, Promise<unknown>>();

  /** `add` is called when the lane is ours, so that nobody else delivers the entry before its answer is waited for. */
  async function inTurn(
    lane: string,
    add: (() => Promise<number>) | null,
  ): Promise<{ answer: unknown } | null> {
    const before = turns.get(lane);
    const turn = (async () => {
      await before?.catch(() => undefined); // Whoever had that turn was told.
      try {
        if (add !== null) await takeLane(lane, patience);
        return await empty(lane, add === null ? null : await add());
      } finally {
        await spool.release(lane);
      }
    })();
    turns.set(lane, turn);
    try {
      return await turn;
    } finally {
      if (turns.get(lane) === turn) turns.delete(lane);
    }
  }

  /** In the background, for what other processes left and what had to wait. */
  async function deliverDue(): Promise<void> {
    if (await isDown()) return;
    for (const lane of await spool.dueLanes(Date.now())) {
      if (stopping.signal.aborted || (await isDown())) return;
      await inTurn(lane, null);
    }
  }

  function look(): void {
    running = deliverDue()
      .catch((error: unknown) => log.error({ err: error }, 'the spool cannot be delivered'))
      .finally(() => {
        running = null;
        if (!stopping.signal.aborted) timer = setTimeout(look, LOOK_MS * parts.scale).unref();
      });
  }

  return {
    async send(given) {
      if ((given.due_at ?? 0) > Date.now() || (await isDown())) {
        await spool.add(given);
        return null;
      }
      return await inTurn(given.lane, () => spool.add(given));
    },
    async flush(lane) {
      const deadline = Date.now() + patience;
      for (;;) {
        const entry = await spool.first(lane);
        if (entry === null) return true;
        if (!isDue(entry.due_at, deadline) || Date.now() >= deadline || (await isDown())) return false;
        await sleep(isDue(entry.due_at) ? 0 : entry.due_at - Date.now());
        await inTurn(lane, null);
      }
    },
    waits: async (lane) => (await spool.first(lane)) !== null,
    isDown,
    isAway: async () => (await spool.health()).failures > 0,
    noteHealth,
    async stop() {
      stopping.abort();
      if (timer !== null) clearTimeout(timer);
      timer = null;
      await running;
    },
  };
}

/**
 * How the turn of a schedule ended, told by its script itself. A script goes on by itself when its worker is restarted, so
 * whoever has the turn next finds here what became of it.
 */
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';

/** Set in the environment of a scheduled script: the BullMQ job of its turn. */
export const TURN_VARIABLE = 'LONGSHORE_TURN';
/** Longer than a fleet is down for. */
const KEPT_MS = 7 * 86_400_000;

export interface TurnEnd {
  readonly started_at: string;
  readonly ended_at: string;
  readonly outcome: 'done' | 'failed';
  readonly reason: string | null;
}

/** @param reason why it failed; null: it went well */
export const endNow = (started_at: string, reason: string | null): TurnEnd => ({
  started_at,
  ended_at: new Date().toISOString(),
  outcome: reason === null ? 'done' : 'failed',
  reason,
});

export const failureOf = (script: string, exit_code: number): string | null =>
  exit_code === 0 ? null : `scripts/${script}.ts ended with exit code ${exit_code}`;

const keyOf = (config: Config, turn: string): string =>
  `${config.queue.prefix}:${config.app_id}:turn:${turn}`;

export async function putTurnEnd(config: Config, redis: Redis, turn: string, end: TurnEnd): Promise<void> {
  await redis.set(keyOf(config, turn), JSON.stringify(end), 'PX', KEPT_MS);
}

/** Null: it has not ended, or died without a word. */
export async function turnEnd(config: Config, redis: Redis, turn: string): Promise<TurnEnd | null> {
  const text = await redis.get(keyOf(config, turn));
  return text === null ? null : (JSON.parse(text) as TurnEnd);
}

/** The turn that this process is, if it is one. Answered once: what it starts is not the turn. */
export function ownTurn(): string | null {
  const turn = process.env[TURN_VARIABLE] ?? null;
  delete process.env[TURN_VARIABLE];
  return turn;
}

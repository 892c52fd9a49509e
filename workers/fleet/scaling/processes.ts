/** How many worker processes a host should have: decided by how long jobs wait, and by how many are needed. */
import type { Config } from '../../../config/index.ts';
import { exceeded } from './autoscaler.ts';
import type { Pressure } from './pressure.ts';

export interface ProcessFacts {
  now: number;
  /** That take jobs. */
  processes: number;
  /** Jobs that they run. */
  busy: number;
  /** Of one of them, at most, over all its queues. */
  slots: number;
  /** For how long the oldest of the jobs that wait has waited; null when none waits. */
  age_seconds: number | null;
  pressure: Pressure;
}

export interface ProcessMemory {
  /** Since when one process fewer would have been enough. */
  readonly idle_since: number | null;
  readonly changed_at: number;
}

export const NO_PROCESS_MEMORY: ProcessMemory = { idle_since: null, changed_at: Number.NEGATIVE_INFINITY };

export interface ProcessDecision {
  memory: ProcessMemory;
  change: { by: 1 | -1; reason: string } | null;
}

/**
 * One more when a job has waited for age_seconds, and none was added in that time, as a new one needs a while to help. One
 * fewer when for idle_seconds nothing waited and the slots of the others would have held all that ran.
 */
export function decideProcesses(
  memory: ProcessMemory,
  { now, processes, busy, slots, age_seconds, pressure }: ProcessFacts,
  { instances, autoscale }: Pick<Config, 'instances' | 'autoscale'>,
): ProcessDecision {
  const spare = age_seconds === null && busy <= (processes - 1) * slots;
  const idle_since = spare ? (memory.idle_since ?? now) : null;
  const kept: ProcessMemory = { ...memory, idle_since };
  const changed: ProcessMemory = { idle_since: null, changed_at: now };
  const settled = now - memory.changed_at >= instances.age_seconds * 1000;
  if (age_seconds !== null && age_seconds >= instances.age_seconds && processes < instances.max && settled) {
    if (exceeded(pressure, autoscale.hold) !== null) return { memory: kept, change: null };
    const reason = `a job has waited for ${Math.floor(age_seconds)} s`;
    return { memory: changed, change: { by: 1, reason } };
  }
  if (idle_since !== null && processes > instances.min && now - idle_since >= instances.idle_seconds * 1000) {
    const reason = `${processes - 1} would have been enough for ${instances.idle_seconds} s`;
    return { memory: changed, change: { by: -1, reason } };
  }
  return { memory: kept, change: null };
}

/** Since when each of these jobs was seen to wait: what BullMQ keeps is when it was made, behind others perhaps. */
export function stillWaiting(
  seen: ReadonlyMap<string, number>,
  waiting: readonly string[],
  now: number,
): ReadonlyMap<string, number> {
  return new Map(waiting.map((id) => [id, seen.get(id) ?? now]));
}

export const ageOf = (seen: ReadonlyMap<string, number>, now: number): number | null =>
  seen.size === 0 ? null : (now - Math.min(...seen.values())) / 1000;

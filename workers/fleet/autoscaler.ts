import type { Config } from '../../config/index.ts';

export type ScaleLimits = Config['autoscale'];

export interface ScaleFacts {
  slots: number;
  /** Jobs that this worker runs. */
  busy: number;
  /** Jobs that could start now if somebody had a slot. */
  backlog: number;
  /** Since when at least one slot was free, in seconds. */
  idle_seconds: number;
}

export interface ScaleDecision {
  slots: number;
  reason: string;
}

/**
 * How many slots a worker should have; null for no change. It grows at once, because a waiting dataset costs more
 * than a process; it shrinks slowly, because work comes in bursts. Slots in use are never taken away.
 */
export function decideSlots(facts: ScaleFacts, limits: ScaleLimits): ScaleDecision | null {
  const { slots, busy, backlog, idle_seconds } = facts;
  if (backlog > 0 && busy >= slots && slots < limits.max) {
    const grown = Math.min(limits.max, slots + backlog);
    return { slots: grown, reason: `${backlog} job(s) wait and all ${slots} slots are busy` };
  }
  if (backlog === 0 && slots > limits.min && busy < slots && idle_seconds >= limits.idle_seconds) {
    const shrunk = Math.max(limits.min, busy);
    return { slots: shrunk, reason: `${slots - busy} slot(s) idle for ${Math.floor(idle_seconds)} s` };
  }
  return null;
}

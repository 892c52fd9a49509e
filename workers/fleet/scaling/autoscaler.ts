import type { Config } from '../../../config/index.ts';
import type { Pressure } from './pressure.ts';

export type ScaleLimits = Config['autoscale'];

export interface ScaleFacts {
  /** In milliseconds, by a clock that nobody sets. */
  now: number;
  slots: number;
  /** The most jobs that were in hand at a time since the last look. */
  busy: number;
  /** Jobs that could start now if somebody had a slot. */
  backlog: number;
  pressure: Pressure;
}

export interface ScaleDecision {
  action: 'grow' | 'shrink' | 'hold';
  from: number;
  to: number;
  reason: string;
}

/** What a look leaves for the next one. */
export interface ScaleMemory {
  /** Slots in use, of the last idle_seconds, oldest first. */
  readonly used: readonly { readonly at: number; readonly busy: number }[];
  /** When memory last forbade growth. */
  readonly pressed_at: number;
  readonly changed_at: number;
  /** Slots with which memory ran short; not reached again before `until`. */
  readonly ceiling: { readonly slots: number; readonly until: number } | null;
  /** Growth is held back, and that was told. */
  readonly holding: boolean;
}

export const NO_MEMORY: ScaleMemory = {
  used: [],
  pressed_at: Number.NEGATIVE_INFINITY,
  changed_at: Number.NEGATIVE_INFINITY,
  ceiling: null,
  holding: false,
};

/** For so long memory is remembered to have run short: jobs as large as those that used it may still wait. */
const CEILING_MS = 10 * 60_000;

/** Slots are given up for so large a part of them, or to reach min. */
const WORTH_SHRINKING = 0.75;

export interface Look {
  readonly memory: ScaleMemory;
  /** Null: nothing changes, and there is nothing new to tell. */
  readonly decision: ScaleDecision | null;
}

/**
 * How many slots a worker should have from now on. In this order:
 *
 * | seen                                            | done                                                 |
 * | ----------------------------------------------- | ---------------------------------------------------- |
 * | memory almost gone (`shrink`)                   | down to min at once, and one below what was in use   |
 * |                                                 | is the ceiling for ten minutes; running jobs go on,  |
 * |                                                 | until more is gone (`overMin`)                       |
 * | backlog, all slots in use, pressure (`hold`),   | told once, nothing changes                           |
 * | or less than calm_seconds since one of memory   |                                                      |
 * | the same under a ceiling                        | one slot more per calm_seconds, up to the ceiling    |
 * | backlog and all slots in use                    | grows at once by what waits: a waiting dataset costs |
 * |                                                 | more than a process                                  |
 * | no backlog, a quarter not used for idle_seconds | down to the most that were in use in that time       |
 *
 * It cannot oscillate: what shrinks idle slots is the peak of a whole window, and growing counts as a use of it; what
 * memory took away comes back slowly and not to where it ran short.
 */
export function look(memory: ScaleMemory, facts: ScaleFacts, limits: ScaleLimits): Look {
  const { now, slots, busy, backlog, pressure } = facts;
  const used = [...memory.used, { at: now, busy }].filter(({ at }) => now - at <= limits.idle_seconds * 1000);
  const short = exceeded(pressure, limits.shrink);
  const pressed = short ?? exceeded(pressure, limits.hold);
  // Jobs that wait for a moment's memory take it when there is some; so it must have been enough for a while. A processor
  // and a disk are shared by all who wait, and what the kernel tells of them is a mean of ten seconds already.
  const scarce = short ?? exceeded({ ...pressure, cpu: null, io: null }, limits.hold);
  const ceiling = memory.ceiling !== null && memory.ceiling.until > now ? memory.ceiling : null;
  const seen: ScaleMemory = {
    ...memory,
    used,
    ceiling,
    pressed_at: scarce === null ? memory.pressed_at : now,
  };
  if (short !== null && slots > limits.min) return underShortage(seen, facts, limits, short);
  if (backlog > 0 && busy >= slots && slots < limits.max) return wantsMore(seen, facts, limits, pressed);
  // A slot that is free for a moment does not end a bad hour, and its next second is not told again.
  const bad = pressed !== null || ceiling !== null || now - seen.pressed_at < limits.calm_seconds * 1000;
  const rested: ScaleMemory = { ...seen, holding: seen.holding && bad };
  const peak = Math.max(...used.map((one) => one.busy));
  const whole = now - Math.max(memory.changed_at, memory.used[0]?.at ?? now) >= limits.idle_seconds * 1000;
  const target = Math.max(limits.min, peak);
  // One slot less than a noisy load needs at its peaks would be asked back soon; an idle slot costs next to nothing.
  const worth = target === limits.min ? target < slots : target <= slots * WORTH_SHRINKING;
  if (backlog > 0 || !whole || !worth) return { memory: rested, decision: null };
  const reason = `at most ${peak} of ${slots} slots were in use for ${limits.idle_seconds} s`;
  return changed(rested, facts, { action: 'shrink', to: target, reason });
}

function underShortage(seen: ScaleMemory, facts: ScaleFacts, limits: ScaleLimits, short: string): Look {
  const { now, slots, busy } = facts;
  const most = Math.max(limits.min, Math.min(busy, slots) - 1);
  const ceiling = { slots: Math.min(most, seen.ceiling?.slots ?? most), until: now + CEILING_MS };
  const left = Math.max(0, busy - limits.min);
  const ending =
    left === 1
      ? `1 job above ${limits.min} ends by itself`
      : `${left} jobs above ${limits.min} end by themselves`;
  const reason = `${short}; ${left > 0 ? ending : 'before the kernel kills'}`;
  return changed({ ...seen, ceiling, holding: true }, facts, { action: 'shrink', to: limits.min, reason });
}

function wantsMore(seen: ScaleMemory, facts: ScaleFacts, limits: ScaleLimits, pressed: string | null): Look {
  const { now, slots, backlog } = facts;
  const waiting = `${backlog === 1 ? '1 job waits' : `${backlog} jobs wait`} and all ${slots} slots are busy`;
  const hold = (reason: string): Look => ({
    memory: { ...seen, holding: true },
    decision: seen.holding
      ? null
      : { action: 'hold', from: slots, to: slots, reason: `${waiting}, but ${reason}` },
  });
  if (pressed !== null) return hold(pressed);
  const calm_ms = limits.calm_seconds * 1000;
  if (now - seen.pressed_at < calm_ms) return hold(`memory was short less than ${limits.calm_seconds} s ago`);
  const free: ScaleMemory = { ...seen, holding: false };
  if (seen.ceiling === null)
    return changed(free, facts, {
      action: 'grow',
      to: Math.min(limits.max, slots + backlog),
      reason: waiting,
    });
  if (slots >= seen.ceiling.slots) return hold(`memory ran short with more than ${seen.ceiling.slots}`);
  if (now - seen.changed_at < calm_ms) return { memory: free, decision: null };
  const reason = `${waiting}; one at a time, as memory ran short with more than ${seen.ceiling.slots}`;
  return changed(free, facts, { action: 'grow', to: slots + 1, reason });
}

/**
 * Why a running job above min must be handed back now; null: it need not. Only what is used counts: a stall is a mean of
 * ten seconds, and would go on taking jobs after memory was free again.
 */
export function overMin(
  { busy, pressure }: Pick<ScaleFacts, 'busy' | 'pressure'>,
  limits: ScaleLimits,
): string | null {
  return busy > limits.min ? exceeded(pressure, limits.hand_back) : null;
}

function changed(
  memory: ScaleMemory,
  { now, slots }: ScaleFacts,
  { action, to, reason }: Omit<ScaleDecision, 'from'>,
): Look {
  // Growing counts as a use: else a window that was idle would take the new slots away before a job is in them.
  const used = action === 'grow' ? [...memory.used, { at: now, busy: to }] : memory.used;
  return { memory: { ...memory, used, changed_at: now }, decision: { action, from: slots, to, reason } };
}

type Thresholds = Partial<ScaleLimits['hold'] & ScaleLimits['shrink'] & ScaleLimits['hand_back']>;

/** The first threshold that is passed, in words; null for none. What the kernel does not tell passes none. */
export function exceeded(pressure: Pressure, limits: Thresholds): string | null {
  const over = (value: number | null, limit: number | null | undefined): boolean =>
    value !== null && limit !== null && limit !== undefined && value >= limit;
  const percent = (value: number | null): string => `${Math.round(value ?? 0)} %`;
  const { cpu, io, memory_stall, memory_used } = pressure;
  if (over(memory_used, limits.memory_used_percent)) return `${percent(memory_used)} of the memory is used`;
  if (over(memory_stall, limits.memory_stall_percent))
    return `everything waited for memory ${percent(memory_stall)} of the time`;
  if (over(cpu, limits.cpu_percent)) return `processes waited for a processor ${percent(cpu)} of the time`;
  if (over(io, limits.io_percent)) return `everything waited for a disk ${percent(io)} of the time`;
  return null;
}

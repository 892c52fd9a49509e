/** Jobs that lost the same workers: one of them may be the reason, and the others its victims for as long as they run beside it. */
import type { Attempt, Finish } from '../../records/contract.ts';
import { lossesSince } from '../../records/losses.ts';

/** One death may come to a worker by anything; from the second in common on they are kept apart. */
const IN_COMMON = 2;
/** The other one may run for days: each wait is twice as long as the last one. */
const FIRST_WAIT_MS = 2_500;
const LONGEST_WAIT_MS = 5 * 60_000;

/** Workers that were lost lately while they ran this task. */
export function lostWith(earlier: readonly Attempt[]): ReadonlySet<string> {
  const since = lossesSince();
  const lost = earlier.filter(({ outcome, date_end }) => outcome === 'lost' && (date_end ?? '') > since);
  return new Set(lost.map(({ worker }) => worker));
}

export interface Suspect {
  readonly lost_with: ReadonlySet<string>;
  readonly about: { readonly workflow_id: string; readonly step: string };
}

/**
 * Null: it may begin here. Else it waits until the other one has ended, or has brought this worker down without it: so an
 * innocent job comes to its end, and the losses of the guilty one become more than those of all others.
 */
export function keepApart(
  earlier: readonly Attempt[],
  running: Iterable<Suspect>,
  now: Date,
): Extract<Finish, { outcome: 'postponed' }> | null {
  const own = [...lostWith(earlier)];
  for (const { lost_with, about } of running) {
    if (own.filter((worker) => lost_with.has(worker)).length < IN_COMMON) continue;
    const waits = earlier.length - 1 - earlier.findLastIndex(({ outcome }) => outcome !== 'postponed');
    const wait_ms = Math.min(FIRST_WAIT_MS * 2 ** waits, LONGEST_WAIT_MS);
    return {
      outcome: 'postponed',
      reason: `lost ${IN_COMMON} workers or more together with step "${about.step}" of workflow ${about.workflow_id}, which runs here; not begun beside it`,
      next_attempt_at: new Date(now.getTime() + wait_ms).toISOString(),
    };
  }
  return null;
}

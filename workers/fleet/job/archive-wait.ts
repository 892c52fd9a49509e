/**
 * A step whose archive is away (a mount, a tape library in maintenance) waits for it as a delayed job: it uses up no
 * retry, holds no slot, and what it has written so far is kept. The waits grow to some minutes; after
 * `archive.patience_seconds` the step fails as with any other retryable error, and waits for a person.
 */
import { type ErrorReport, ERRORS } from '../../errors.ts';
import type { Attempt, Finish } from '../../records/contract.ts';

export interface ArchiveWait {
  /** When the archive was first found away; null: it was not, so far. */
  readonly since: string | null;
  /** How often it was looked at since. */
  readonly looks: number;
  /** Whether the attempt that begins now may wait on. Said once, so that its process and its worker agree. */
  readonly patient: boolean;
}

const LONGEST_SECONDS = 300;
const SHORTEST_SECONDS = 0.2;
/** An attempt that went on for so long had reached the archive, whatever ended it. */
const REACHED_MS = 600_000;

/** @param attempts of the same run, oldest first */
export function archiveWaitOf(
  attempts: readonly Pick<Attempt, 'outcome' | 'error' | 'date_start' | 'date_end'>[],
  patience_seconds: number,
  now: Date,
): ArchiveWait {
  let since: string | null = null;
  let looks = 0;
  for (const { outcome, error, date_start, date_end } of attempts.toReversed()) {
    if (outcome === null) continue; // The one that begins now.
    // A worker that was soon stopped or lost, or a wait for something else, says nothing of the archive.
    const soon = Date.parse(date_end ?? date_start) - Date.parse(date_start) < REACHED_MS;
    if (error === null && soon && (outcome === 'postponed' || outcome === 'lost')) continue;
    if (error?.code !== 'E_ARCHIVE_UNAVAILABLE') break;
    since = date_end ?? since;
    looks += 1;
  }
  const waited_ms = since === null ? 0 : now.getTime() - Date.parse(since);
  return { since, looks, patient: waited_ms < patience_seconds * 1000 };
}

/** What the records are told instead of a failure; null when the error is another one, or the patience is over. */
export function waitForArchive(
  error: ErrorReport,
  { since, looks, patient }: ArchiveWait,
  delay_seconds: number,
  now: Date,
): Extract<Finish, { outcome: 'postponed' }> | null {
  // Of another class it is for a person: an object in cold storage does not come back by itself.
  if (error.code !== 'E_ARCHIVE_UNAVAILABLE' || error.class !== 'retryable' || !patient) return null;
  const seconds = Math.min(LONGEST_SECONDS, Math.max(SHORTEST_SECONDS, delay_seconds) * 2 ** looks);
  const next_attempt_at = new Date(now.getTime() + seconds * 1000).toISOString();
  // What the place of failure knows to do about it, as the command that marks a folder as an archive.
  const remedy = error.hint === ERRORS.E_ARCHIVE_UNAVAILABLE.hint ? '' : `. ${error.hint}`;
  const waits = `waits for the archive since ${since ?? now.toISOString()}: ${error.message}${remedy}`;
  const result = { waits, code: error.code, next_attempt_at };
  return { outcome: 'postponed', error, reason: waits, next_attempt_at, result };
}

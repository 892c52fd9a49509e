/** Which losses of its process a job is to blame for: the same in every back end. */

/** A job that loses its process may share the blame with all that lost theirs in this time before it. */
const LATELY_MS = 10 * 60_000;

/** ISO 8601. */
export const lossesSince = (): string => new Date(Date.now() - LATELY_MS).toISOString();

/** A task that lost its process with another one, or lately. */
export interface Loser {
  readonly task_id: string;
  /** Its losses, with the one that is looked at if that is its own, too. */
  readonly losses: number;
  /** It is over for it: with what set it aside, it has explained its losses. */
  readonly failed: boolean;
}

/**
 * By how much a loss counts against `own`, 0 to 1. A worker that dies takes all its jobs along, and at most one of them is
 * the reason; where many lose their processes one by one, none of them is. So all of them share. But who loses its process
 * more than twice as often as all others is the reason: else one that brings down a busy worker again and again would be
 * excused by its victims, more of them each time.
 */
export function shareOfLoss(own: Omit<Loser, 'failed'>, others: readonly Loser[]): number {
  const sharers = others.filter(
    ({ task_id, losses, failed }) => task_id !== own.task_id && !failed && 2 * losses >= own.losses,
  );
  return 1 / (1 + sharers.length);
}

/** A hundred jobs of a task that always crashes share, too: so many losses are the end, whoever is to blame. */
const TOO_MANY = 10;

/** @param max_losses of the configuration: losses that are the job's own fault */
export const isSetAside = (
  { losses, blame }: { losses: number; blame: number },
  max_losses: number,
): boolean => blame > max_losses || losses >= TOO_MANY * (max_losses + 1);

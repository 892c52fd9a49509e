import { coerceError } from './errors.ts';
import type { Logger } from './log.ts';

/**
 * What a loop meets again and again, told once. A disk that is full for a night is met once a second by each job that waits:
 * 30,000 lines for each, in which all else is lost, on a disk that may be the full one. So the first is told in full, a
 * different one at once as well, the same again after a minute with how often it came, then after twice that time and so on
 * up to an hour; and its end.
 */
export interface Trouble {
  /** @param subject which of several that meet it side by side, such as a job; it is over when all of them went well */
  met(error: unknown, about?: object, subject?: string): void;
  /** It went well. */
  over(subject?: string): void;
}

interface Met {
  readonly since: string;
  readonly subjects: Set<string>;
  times: number;
  last: number;
  /** By the clock that nobody sets, and the pause before it. */
  tell_at: number;
  pause_ms: number;
}

const FIRST_PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 3_600_000;
/** A subject that is not heard of again, such as a job that another worker has ended, keeps nothing open for longer. */
const FORGOTTEN_MS = 300_000;

export interface TroubleWords {
  /** What could not be done. */
  readonly what: string;
  /** What is done again. */
  readonly end: string;
  readonly level?: 'warn' | 'error';
  /** Told by somebody else. */
  readonly except?: (error: unknown) => boolean;
}

export function troubleTeller(
  log: Logger,
  { what, end, level = 'error', except = () => false }: TroubleWords,
  now: () => number = () => performance.now(),
): Trouble {
  /** By code and message: two that come in turns are two troubles, and neither is told anew each time. */
  const open = new Map<string, Met>();
  const close = (key: string, { since, times }: Met): void => {
    open.delete(key);
    log.info({ since, times, reason: key }, end);
  };
  const forget = (at: number): void => {
    for (const [key, one] of open) if (at - one.last > FORGOTTEN_MS) close(key, one);
  };
  return {
    met: (error, about = {}, subject = '') => {
      if (except(error)) return;
      const at = now();
      const { code, message, hint } = coerceError(error);
      const key = `${code}: ${message}`;
      const known = open.get(key);
      if (known === undefined) {
        const since = new Date().toISOString();
        open.set(key, {
          since,
          subjects: new Set([subject]),
          times: 1,
          last: at,
          tell_at: at + FIRST_PAUSE_MS,
          pause_ms: FIRST_PAUSE_MS,
        });
        log[level]({ err: error, code, hint, ...about }, what);
      } else {
        known.times += 1;
        known.last = at;
        known.subjects.add(subject);
        if (at >= known.tell_at) {
          known.pause_ms = Math.min(2 * known.pause_ms, LONGEST_PAUSE_MS);
          known.tell_at = at + known.pause_ms;
          const { since, times } = known;
          log[level]({ since, times, reason: key, hint, ...about }, `still: ${what}`);
        }
      }
      forget(at);
    },
    over: (subject = '') => {
      if (open.size === 0) return;
      for (const [key, one] of open) {
        one.subjects.delete(subject);
        if (one.subjects.size === 0) close(key, one);
      }
      forget(now());
    },
  };
}

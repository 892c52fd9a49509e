import { duration } from '../cli/format.ts';
import { type Finding, finding } from './finding.ts';

/** A clock that was asked: ours right before and right after, all in milliseconds since 1970. */
export interface ClockReading {
  readonly before: number;
  readonly theirs: number;
  readonly after: number;
}

/** By how much theirs is ahead (behind: negative); 0 where the time of the question itself explains it. */
export function skewOf({ before, theirs, after }: ClockReading): number {
  if (theirs > after) return theirs - after;
  return theirs < before ? theirs - before : 0;
}

/** Locks, delays and stability are compared across hosts: a clock that is off makes files look unstable, or stable too soon. */
export function judgeClock(
  id: string,
  subject: string,
  reading: ClockReading,
  limit_seconds: number,
): Finding {
  const skew = skewOf(reading);
  const size = Math.abs(skew) / 1000;
  const level = size <= limit_seconds ? 'ok' : size <= 30 * limit_seconds ? 'warning' : 'problem';
  return finding(level, id, {
    subject,
    seen: size < 0.0005 ? 'the same as ours' : `${duration(size)} ${skew > 0 ? 'ahead of' : 'behind'} ours`,
    expected: `within ${limit_seconds} s (doctor.clock_skew_seconds)`,
    remedy:
      'Let both hosts take their time from the same source: chronyd or systemd-timesyncd; see timedatectl.',
  });
}

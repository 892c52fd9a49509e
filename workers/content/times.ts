/** Modification times between a manifest and a file system. */

/**
 * A manifest's time as Node sets it. Whole seconds and the rest apart: nanoseconds since 1970 as one double lose their last
 * eight bits.
 */
export function secondsOf(mtime: string): number {
  const ns = BigInt(mtime);
  return Number(ns / 1_000_000_000n) + Number(ns % 1_000_000_000n) / 1e9;
}

/**
 * Doubles of seconds: times are kept to a quarter of a microsecond, which is all that Node can set. It takes a negative
 * number for now, but not a date before 1970, which is kept to the millisecond.
 */
export const settable = (seconds: number): number | Date =>
  seconds < 0 ? new Date(seconds * 1000) : seconds;

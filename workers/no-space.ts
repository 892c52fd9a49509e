import { QUOTA_HINT } from './errors.ts';

/**
 * A program has no error code for a full disk, only words: those of the system, whatever else stands in the line. All
 * programs that are called end with another message each, and none of them would do better when it is run again.
 */
const NO_SPACE = /no space left on device|disk quota exceeded/i;

/** The line that tells of it, if one does. */
export const noSpaceIn = (said: readonly string[]): string | undefined =>
  said.find((line) => NO_SPACE.test(line));

/** Where it is a quota that such a line tells of, and not the disk. */
export const isQuotaLine = (line: string): boolean => /disk quota exceeded/i.test(line);

/** For the options of an error that carries the line. */
export const hintOf = (line: string | undefined): { hint?: string } =>
  line !== undefined && isQuotaLine(line) ? { hint: QUOTA_HINT } : {};

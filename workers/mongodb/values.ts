/** What goes into and comes out of a field. */
import { Long } from 'mongodb';
import { wholeNumber } from '../sqlite/values.ts';

/**
 * Kept as a 64-bit integer, whatever its size, so that other readers see a number of bytes and no floating point; the
 * driver reads it back as a number. @throws E_VALUE beyond 2^53 - 1, where a number is no longer exact
 */
export const longOf = (field: string, value: number): number =>
  Long.fromNumber(wholeNumber(field, value)) as unknown as number;

export const longOrNull = (field: string, value: number | null): number | null =>
  value === null ? null : longOf(field, value);

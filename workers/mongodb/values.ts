/** What goes into and comes out of a field. */
import { Long } from 'mongodb';
import { fromJson, toJson, wholeNumber, wholeSize } from '../sqlite/values.ts';

/**
 * What may hold anything is kept as JSON: as a document it could hold what a server refuses (FerretDB lists within lists, a
 * problem of an inspection is one) or the driver reads back as something else (names that begin with `$`).
 */
export const asJson = (value: object): string => toJson(value);

/* oxlint-disable typescript/no-unnecessary-type-parameters -- what was written is known only to the caller */
/** What was written before it was kept as JSON is a document. */
export const jsonRead = <T extends object>(stored: string): T =>
  typeof stored === 'string' ? fromJson<T>(stored) : stored;
/* oxlint-enable typescript/no-unnecessary-type-parameters */

/**
 * Kept as a 64-bit integer, whatever its size, so that other readers see a number of bytes and no floating point; the
 * driver reads it back as a number. @throws E_VALUE beyond 2^53 - 1, where a number is no longer exact
 */
export const longOf = (field: string, value: number): number =>
  Long.fromNumber(wholeNumber(field, value)) as unknown as number;

/** The same for what may be larger, which the driver reads back as a Long: see {@link sizeRead}. */
export const longOrNull = <T extends number | bigint>(field: string, value: T | null): T | null =>
  value === null ? null : (Long.fromBigInt(BigInt(wholeSize(field, value))) as unknown as T);

export const sizeRead = (value: number | bigint | null): number | bigint | null =>
  Long.isLong(value) ? value.toBigInt() : value;

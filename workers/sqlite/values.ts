/** What goes into and comes out of a column. */
import { LongshoreError } from '../errors.ts';

let at = 0;
let text = '';

/** Written out once for each millisecond: a step asks some five times, and writing takes longer than binding it. */
export function now(): string {
  const ms = Date.now();
  if (ms !== at) {
    at = ms;
    text = new Date(ms).toISOString();
  }
  return text;
}

export const toJson = (value: unknown): string => JSON.stringify(value ?? null);
export const toJsonOrNull = (value: unknown): string | null =>
  value === undefined || value === null ? null : JSON.stringify(value);

/* oxlint-disable typescript/no-unnecessary-type-parameters -- what was written is known only to the caller */
export const fromJson = <T>(text: string): T => JSON.parse(text) as T;
export const fromJsonOrNull = <T>(text: string | null): T | null =>
  text === null ? null : (JSON.parse(text) as T);
/* oxlint-enable typescript/no-unnecessary-type-parameters */

/** A count, or the size of one file: what a number cannot hold exactly is refused rather than rounded. */
export function wholeNumber(field: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new LongshoreError('E_VALUE', `${field} is ${value}; expected a whole number from 0 to 2^53 - 1`, {
    fields: { field, value: String(value) },
  });
}

/** As {@link wholeNumber}, and beyond it what 64 bits hold. */
export function wholeSize(field: string, value: number | bigint): number | bigint {
  if (typeof value === 'number') return wholeNumber(field, value);
  if (value >= 0n && value < 1n << 63n) return value;
  throw new LongshoreError('E_VALUE', `${field} is ${value}; expected a whole number from 0 to 2^63 - 1`, {
    fields: { field, value: String(value) },
  });
}

/** SQLite keeps UTF-8; a lone surrogate would silently become U+FFFD and name another file. */
export function wellFormed(field: string, value: string): string {
  if (value.isWellFormed() && !value.includes('\0')) return value;
  throw new LongshoreError(
    'E_NAME_UNSAFE',
    `${field} ${JSON.stringify(value)} holds bytes that are no UTF-8; expected text`,
    { fields: { field, value } },
  );
}

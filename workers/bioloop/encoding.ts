/**
 * Values on their way to and from the API.
 *
 * Sizes are `bigint` on this side of it: its columns are 64 bits wide, and a number is exact to 2^53 - 1 only. They
 * travel as decimal text, all but `bundle.size`, which the API wants as a number (written digit by digit, though its own
 * JSON reader rounds it above 2^53) and answers as text.
 */

import type { ByteSize } from '../dataset/byte-size.ts';

/** A size as it is sent: decimal text, which is also what the spool keeps of one. */
export const sizeText = (size: ByteSize | string): string => BigInt(size).toString();

/** A size as it is answered; what is no whole number is null, as in the reference. */
export function sizeOf(value: unknown): bigint | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : null;
  if (typeof value !== 'string' || !/^-?\d{1,19}$/.test(value)) return null;
  return BigInt(value);
}

/** ISO 8601 of a date as it is answered (`2026-01-31T12:00:00[.fff…]Z`); null for anything else. */
export function dateOf(value: unknown): string | null {
  if (typeof value !== 'string') return null;
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z$/.exec(value);
  if (parts === null) return null;
  const at = new Date(`${parts[1]}${(parts[2] ?? '').slice(0, 4)}Z`);
  // `2026-02-30` becomes the 2nd of March, which nobody has said.
  const iso = Number.isNaN(at.getTime()) ? null : at.toISOString();
  return iso?.startsWith(parts[1] ?? '') === true ? iso : null;
}

type QueryValue = string | number | boolean | null | undefined | readonly string[];
export type Query = Readonly<Record<string, QueryValue>>;

/** Without what is null; booleans as the reference writes them; lists by repeating the name. */
export function searchParams(query: Query): URLSearchParams {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined) continue;
    if (typeof value === 'object') for (const item of value) params.append(name, item);
    else params.append(name, typeof value === 'boolean' ? (value ? 'True' : 'False') : String(value));
  }
  return params;
}

/**
 * By the rules of URL resolution, as the reference does: `https://h/api` + `datasets` is `https://h/datasets`, and
 * `https://h/api/` + `datasets` is `https://h/api/datasets`.
 */
export function resolveUrl(base: string, path: string, query: Query = {}): URL {
  const url = new URL(path, base);
  for (const [name, value] of searchParams(query)) url.searchParams.append(name, value);
  return url;
}

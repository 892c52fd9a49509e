/** Dates as the reference writes them: microseconds, and Z. */

/**
 * `2026-11-28T13:05:09.042Z` → `2026-11-28T13:05:09.042000Z`. Null for what is absent; a text that is no date stays as it
 * is, so that one odd document does not hide the others.
 */
export function wireDate(date: string | null | undefined): string | null {
  if (date === null || date === undefined) return null;
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z?$/.exec(date);
  if (match === null) return date;
  return `${match[1]}.${(match[2] ?? '').slice(0, 6).padEnd(6, '0')}Z`;
}

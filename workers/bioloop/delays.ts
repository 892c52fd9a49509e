/** When a request is sent again: the reference's delays, so that both put the same load on an API that is ill. */

/** Of the attempts after the first. */
export const MAX_RETRIES = 9;
/** The server or a proxy before it asks for patience. 500 and 504 may have had an effect and are not asked again. */
export const RETRY_STATUSES: ReadonlySet<number> = new Set([429, 502, 503]);

const LONGEST_SECONDS = 120;
const MOST_PATIENCE_SECONDS = 3600;

/** Seconds before retry 1, 2, …: 0, 10, 20, 40, 80, 120, 120, … About 10 minutes for all nine. */
export const delaySeconds = (retry: number): number =>
  retry <= 1 ? 0 : Math.min(LONGEST_SECONDS, 10 * 2 ** (retry - 2));

/** Seconds that `Retry-After` asks for, as a number or a date, an hour at most; null where it asks for nothing that can be read. */
export function retryAfterSeconds(header: string | undefined, now = Date.now()): number | null {
  if (header === undefined || header.trim() === '') return null;
  const text = header.trim();
  if (/^\d+(\.\d+)?$/.test(text)) return Math.min(MOST_PATIENCE_SECONDS, Number(text));
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.min(MOST_PATIENCE_SECONDS, Math.max(0, (at - now) / 1000));
}

/** Whether the staged copy of a dataset is pinned, and how a pin is told. */
import { momentText } from './moment.ts';
import type { Dataset, Pin } from './types.ts';

/** The pin that holds now; null when there is none, or when its time is over. */
export function pinOf({ metadata }: Pick<Dataset, 'metadata'>, now: Date = new Date()): Pin | null {
  const pin = recordedPin(metadata.pinned);
  if (pin?.until == null) return pin;
  return Date.parse(pin.until) <= now.getTime() ? null : pin;
}

/** Whatever stands there and cannot be read keeps the copy: somebody meant something by it. */
function recordedPin(value: unknown): Pin | null {
  if (value === null || value === undefined || value === false) return null;
  const { until, by, reason } = (typeof value === 'object' ? value : {}) as Record<string, unknown>;
  return {
    until: typeof until === 'string' && Number.isFinite(Date.parse(until)) ? until : null,
    by: typeof by === 'string' ? by : 'unknown',
    reason: typeof reason === 'string' ? reason : null,
  };
}

/** `until 2026-10-30 09:15:00 UTC, by anna: needed for the paper` */
export function pinText({ until, by, reason }: Pin): string {
  const when = until === null ? 'without an end' : `until ${momentText(until)}`;
  return `${when}, by ${by}${reason === null ? '' : `: ${reason}`}`;
}

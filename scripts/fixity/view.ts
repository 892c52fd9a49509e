/** How proofs are shown to people. */
import type { Difference } from '../../workers/content/compare/differences.ts';
import type { Proof } from '../../workers/dataset/types.ts';
import { bytes, duration, oneLine, rate } from '../cli/format.ts';
import type { Style } from '../cli/table.ts';

export const resultStyle = (result: string): Style | undefined =>
  (
    ({ ok: 'green', mismatch: 'red', missing: 'red', unavailable: 'yellow' }) as Record<
      string,
      Style | undefined
    >
  )[result];

/** `1.2 GiB in 3.1 s (400 MiB/s)`; '' where nothing was read. */
export function readText({ bytes: read, seconds }: Pick<Proof, 'bytes' | 'seconds'>): string {
  if (read === 0) return '';
  return `${bytes(read)} in ${duration(seconds)} (${rate(read / Math.max(seconds, 0.001))})`;
}

/** What was found, in a few words. */
export function findingText({ result, details }: Pick<Proof, 'details'> & { result: string }): string {
  const [first, ...more] = differenceTexts(details, Number.POSITIVE_INFINITY);
  if (result === 'missing') return 'the archive has no such object';
  if (first === undefined) return typeof details.reason === 'string' ? oneLine(details.reason) : '';
  const total = typeof details.num_differences === 'number' ? details.num_differences : more.length + 1;
  return total > 1 ? `${first}; ${total} differences` : first;
}

/** One text for each difference; of many, the first `most`. */
export function differenceTexts(details: Readonly<Record<string, unknown>>, most: number): string[] {
  const list = Array.isArray(details.differences) ? (details.differences as Difference[]) : [];
  return list.slice(0, most).map(({ member, what, expected, actual }) => {
    const where = member === null ? 'bundle' : `"${member}"`;
    return oneLine(`${where}: ${what} is ${actual}, expected ${expected}`);
  });
}

/** How long a step will take, from what past runs of its task took. */
import { roughSize } from '../../workers/dataset/byte-size.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { isLongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';
import type { Amount, Expectation } from './model.ts';

/** The newest so many runs of a task, as machines and networks change. */
const RUNS = 20;
/** A run over less than a tenth of the data is mostly start and end of its process. */
const COMPARABLE = 0.1;
const FEWEST = 5;

export interface PastRun {
  readonly amount: number;
  readonly seconds: number;
}

/** Null: nothing to go by. */
export async function expectation(
  store: Store,
  task: string,
  { unit, amount }: Amount,
): Promise<Expectation | null> {
  if (amount === null) return null;
  const past: PastRun[] = [];
  for (const { dataset_id, date_start, date_done } of await store.records.cleanRuns({ task, limit: RUNS })) {
    const dataset = await datasetIn(store, dataset_id);
    const moved = dataset === null ? null : amountOf(dataset, unit);
    const seconds = (Date.parse(date_done) - Date.parse(date_start)) / 1000;
    if (moved !== null && moved > 0 && seconds > 0) past.push({ amount: moved, seconds });
  }
  return expectedOf(past, { unit, amount });
}

/** Null: the catalog does not know it any more, as after it was set back to a backup. */
const datasetIn = ({ catalog }: Store, id: number): Promise<Dataset | null> =>
  catalog.get(id).catch((error: unknown) => {
    if (isLongshoreError(error) && error.code === 'E_DATASET_NOT_FOUND') return null;
    throw error;
  });

export function amountOf({ size, num_files, num_directories }: Dataset, unit: Amount['unit']): number | null {
  if (unit === 'bytes') return roughSize(size);
  return num_files === null ? null : num_files + (num_directories ?? 0);
}

/** By the median rate of runs of comparable size; else of the largest there are, saying so. */
export function expectedOf(past: readonly PastRun[], { unit, amount }: Amount): Expectation | null {
  if (amount === null || past.length === 0) return null;
  const comparable = past.filter((run) => run.amount >= amount * COMPARABLE);
  const from_smaller = comparable.length === 0;
  const chosen = from_smaller ? past.toSorted((a, b) => b.amount - a.amount).slice(0, FEWEST) : comparable;
  const rate = median(chosen.map((run) => run.amount / run.seconds));
  return { seconds: amount / rate, rate, unit, runs: chosen.length, from_smaller };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

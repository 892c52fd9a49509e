/**
 * File rows on their way to the API, one batch after another.
 *
 * The API answers a batch before it writes it, and reads all rows of the dataset for each one. Without a pause the batches of a
 * million rows are all at work there at once: it answers nobody for minutes, and holds as many times all rows in memory.
 * So a batch is sent when the last row of the one before is there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiFile } from '../../bioloop/dataset-requests.ts';
import type { BioloopApi } from '../../bioloop/endpoints.ts';
import type { FileRow } from '../../dataset/types.ts';
import { isLongshoreError, type LongshoreError } from '../../errors.ts';

export interface BatchLimits {
  /** config.inspect.file_metadata_batch_size. */
  readonly batch_rows: number;
  /** Below the 50 MB that the API reads. */
  readonly batch_bytes: number;
  /** Of all pauses. */
  readonly scale: number;
}

export interface FileBatches {
  send(id: number, rows: readonly FileRow[]): Promise<void>;
  /** Until what this process has sent last is there, or will not come by waiting. */
  written(id: number): Promise<void>;
}

/** Before each look; what is not there after the last one was lost. */
const LOOKS_SECONDS = [0, 0.2, 0.5, 1, 2, 5, 10, 20, 30];

/** Of one batch, what tells that it is written. */
interface Sign {
  readonly path: string;
  /** Lists `path` when the tree has it, which is written after all rows; null: it would list too much. */
  readonly folder: string | null;
}

/** A folder with more rows of one batch is not asked for: the API lists all that it has. */
const FEW = 2_000;

/**
 * @param onFailure what asking for a row of the dataset came to, other than an answer
 * @param onUnlinked the rows are there and their places in the tree are not: the API was stopped in between
 */
export function fileBatches(
  api: BioloopApi,
  limits: BatchLimits,
  onFailure: (id: number, error: LongshoreError) => void,
  onUnlinked: (id: number) => void,
): FileBatches {
  /** By dataset. */
  const sentLast = new Map<number, Sign>();
  const begun = new Set<number>();

  async function written(id: number): Promise<void> {
    const sign = sentLast.get(id);
    if (sign === undefined) return;
    let there = false;
    for (const seconds of LOOKS_SECONDS) {
      await sleep(seconds * 1000 * limits.scale);
      there = await isThere(id, sign);
      if (there) break;
    }
    // The row first: what is written in between is seen by the second look.
    if (!there && sign.folder !== null && (await isThere(id, { ...sign, folder: null })))
      if (!(await isThere(id, sign))) onUnlinked(id);
    sentLast.delete(id);
  }

  /** An API that is too busy to answer has not written it yet; one that cannot be asked for such a path is not waited for. */
  async function isThere(id: number, { path, folder }: Sign): Promise<boolean> {
    try {
      const found = await api.filesBelow(id, folder ?? path, { retries: 0 });
      return found !== null && (folder === null || found.some((one) => one.path === path));
    } catch (error) {
      if (!isLongshoreError(error)) throw error;
      onFailure(id, error);
      return error.code !== 'E_API_UNAVAILABLE' && error.code !== 'E_API_FAILED';
    }
  }

  return {
    written,
    send: async (id, rows) => {
      for (const batch of batchesOf(rows, limits)) {
        await written(id);
        await api.addFiles(id, batch, { retries: 1 });
        const whole = !begun.has(id) && batch.length < limits.batch_rows;
        begun.add(id);
        sentLast.set(id, signOf(batch, whole));
      }
    },
  };
}

/**
 * The folder with the fewest rows of the batch. Those at its ends, and the root, may go on in other batches, to any size;
 * `whole`: there are no others.
 */
function signOf(batch: readonly ApiFile[], whole: boolean): Sign {
  const last = batch.at(-1)?.path ?? '';
  const counts = new Map<string, { count: number; path: string }>();
  for (const { path } of batch)
    counts.set(folderOf(path), { count: (counts.get(folderOf(path))?.count ?? 0) + 1, path });
  if (!whole) for (const open of ['', folderOf(batch[0]?.path ?? ''), folderOf(last)]) counts.delete(open);
  let fewest: Sign = { path: last, folder: null };
  let least = FEW + 1;
  for (const [folder, { count, path }] of counts)
    if (count < least) [fewest, least] = [{ path, folder }, count];
  return fewest;
}

const folderOf = (path: string): string => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '');

function* batchesOf(rows: readonly FileRow[], limits: BatchLimits): Generator<ApiFile[]> {
  let batch: ApiFile[] = [];
  let bytes = 0;
  for (const { path, md5, size, type } of rows) {
    // Every character of a name may take six bytes as JSON; the rest of a row is small.
    const most = path.length * 6 + 150;
    if (batch.length >= limits.batch_rows || (batch.length > 0 && bytes + most > limits.batch_bytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push({ path, md5, size, type });
    bytes += most;
  }
  if (batch.length > 0) yield batch;
}

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

/** @param onFailure what asking for a row of the dataset came to, other than an answer */
export function fileBatches(
  api: BioloopApi,
  limits: BatchLimits,
  onFailure: (id: number, error: LongshoreError) => void,
): FileBatches {
  /** By dataset. */
  const sentLast = new Map<number, string>();

  async function written(id: number): Promise<void> {
    const path = sentLast.get(id);
    if (path === undefined) return;
    for (const seconds of LOOKS_SECONDS) {
      await sleep(seconds * 1000 * limits.scale);
      if (await isThere(id, path)) break;
    }
    sentLast.delete(id);
  }

  /** An API that is too busy to answer has not written it yet; one that cannot be asked for such a path is not waited for. */
  async function isThere(id: number, path: string): Promise<boolean> {
    try {
      return await api.hasFile(id, path, { retries: 0 });
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
        sentLast.set(id, batch.at(-1)?.path ?? '');
      }
    },
  };
}

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

import { closeSync, openSync } from 'node:fs';
import type { DigestName } from '../../../config/index.ts';
import { createHasher, type Digests } from './digest.ts';
import { reading, readUpTo } from '../files.ts';
import { fsPath } from '../path.ts';

const CHUNK_BYTES = 1024 * 1024;

/** Digests of one file, with a turn of the event loop for each chunk. For many files there is the DigestPool. */
export async function digestFile(
  path: string,
  names: readonly DigestName[],
  { signal, onRead }: { signal?: AbortSignal | undefined; onRead?: (length: number) => void } = {},
): Promise<Digests> {
  const hasher = createHasher(names);
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const fd = openSync(fsPath(path), 'r');
  const next = (): number => reading(path, () => readUpTo(fd, buffer));
  try {
    for (let length = next(); length > 0; length = next()) {
      hasher.update(buffer.subarray(0, length));
      onRead?.(length);
      await new Promise(setImmediate);
      signal?.throwIfAborted();
    }
  } finally {
    closeSync(fd);
  }
  return hasher.digests();
}

import { open } from 'node:fs/promises';
import { namingPath } from './files.ts';

export interface CopyOptions {
  readonly signal?: AbortSignal | undefined;
  onProgress?: ((bytes: number) => void) | undefined;
}

/** Writes a stream of buffers to a file (replaced if it exists) and syncs it; gives the number of bytes. */
export async function copyBytes(
  source: AsyncIterable<Buffer>,
  target: string,
  { signal, onProgress }: CopyOptions = {},
): Promise<number> {
  const file = await open(target, 'w', 0o644);
  let size = 0;
  try {
    for await (const chunk of source) {
      signal?.throwIfAborted();
      await namingPath(target, file.writeFile(chunk));
      size += chunk.length;
      onProgress?.(size);
    }
    await namingPath(target, file.sync());
  } finally {
    await file.close();
  }
  return size;
}

/** fsync without holding up the event loop, as large files would. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await namingPath(path, file.sync());
  } finally {
    await file.close();
  }
}

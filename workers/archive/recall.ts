/** One copy of a bundle, to be read in parts: straight from archives that can do that, else from a local copy. */
import type { FileHandle } from 'node:fs/promises';
import type { Archive } from './contract.ts';
import { type FetchedBundle, fetchShared, type SharedFetchOptions } from './shared-fetch.ts';

export interface ReadableBundle {
  readonly read: (offset: number, length: number) => AsyncIterable<Buffer>;
  readonly close: () => Promise<void>;
}

const CHUNK_BYTES = 1024 * 1024;

export async function openReadable(
  options: SharedFetchOptions & { readonly archive: Pick<Archive, 'read'> },
): Promise<ReadableBundle> {
  const { archive, key, signal } = options;
  if (archive.capabilities.range)
    return { read: rangesOf(archive, key, signal), close: async () => undefined };
  const fetched: FetchedBundle = await fetchShared(options);
  return { read: (offset, length) => partOf(fetched.file, offset, length), close: fetched.close };
}

const rangesOf =
  (archive: Pick<Archive, 'read'>, key: string, signal: AbortSignal | undefined) =>
  (offset: number, length: number) =>
    archive.read(key, { offset, length, ...(signal === undefined ? {} : { signal }) });

/** By place, so that the file can be read again and again through one descriptor, even when it has lost its name. */
async function* partOf(file: FileHandle, offset: number, length: number): AsyncGenerator<Buffer> {
  for (let at = offset; at < offset + length; ) {
    const into = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, offset + length - at));
    const { bytesRead } = await file.read(into, 0, into.length, at);
    if (bytesRead === 0) return;
    yield into.subarray(0, bytesRead);
    at += bytesRead;
  }
}

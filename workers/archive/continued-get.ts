/** Fetches an object into a file, from where an earlier attempt at the same object has come to. */
import { createReadStream, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createHasher, type Digests, type Hasher } from '../content/digest/digest.ts';
import { textIfThere, writeSmall } from '../content/files.ts';
import { publishFile, removeFile } from '../content/publish.ts';
import { originPath } from './contract.ts';
import { makeFoldersLater } from '../folders.ts';

/** What a killed process, or a power cut, takes from a half-fetched file. A sync of so much is cheap beside its way here. */
const SYNC_BYTES = 64 * 1024 ** 2;

export interface ContinuedGet {
  readonly target: string;
  /** For people, and that the beginning of another object is not gone on with. */
  readonly location: string;
  /** Another one for other bytes at the same place, as an ETag; empty: it cannot be told, so every attempt begins anew. */
  readonly version: string;
  readonly size: number;
  /** Compute it: the archive states one. */
  readonly md5: boolean;
  /** The bytes from `offset` on, of this version. */
  readonly read: (offset: number) => AsyncIterable<Buffer>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** Beside a file that is being fetched: of which object its first `synced` bytes are, and their BLAKE3. */
interface Origin {
  readonly location: string;
  readonly version: string;
  readonly size: number;
  readonly synced: number;
  readonly blake3: string;
}

/**
 * What is there is read back before the archive is asked, and proven by its digest; what does not prove itself is fetched
 * again. Gives the size and digests of the file, for the caller to compare; what was noted stays until `endGet`.
 */
export async function continueGet(get: ContinuedGet): Promise<{ size: number; digests: Digests }> {
  const { target, size, signal } = get;
  await makeFoldersLater(dirname(target));
  const { hasher, bytes } = await keptOf(get);
  let at = bytes;
  const note = (): void =>
    noteOrigin(target, {
      location: get.location,
      version: get.version,
      size,
      synced: at,
      blake3: hasher.soFar().blake3 ?? '',
    });
  note();
  const file = await open(target, at === 0 ? 'w' : 'r+', 0o644);
  try {
    await file.truncate(at);
    let synced = at;
    const sync = async (): Promise<void> => {
      await file.datasync();
      note();
      synced = at;
    };
    try {
      if (at < size)
        for await (const chunk of get.read(at)) {
          signal?.throwIfAborted();
          await writeAt(file, chunk, { at, target });
          hasher.update(chunk);
          at += chunk.length;
          get.onProgress?.(at);
          if (at - synced >= SYNC_BYTES) await sync();
        }
    } catch (error) {
      await sync().catch(() => undefined); // The first failure is the one to tell.
      throw error;
    }
    await file.sync();
    return { size: at, digests: hasher.digests() };
  } finally {
    await file.close();
  }
}

/** @param sound the file is what the archive has; else it goes as well */
export function endGet(target: string, sound: boolean): void {
  if (!sound) removeFile(target);
  removeFile(originPath(target));
}

/** How many bytes of the file are those of this object, with their digests so far. */
async function keptOf(get: ContinuedGet): Promise<{ hasher: Hasher; bytes: number }> {
  const fresh = (): Hasher => createHasher(get.md5 ? ['blake3', 'md5'] : ['blake3']);
  const none = { hasher: fresh(), bytes: 0 };
  const before = readOrigin(get.target);
  if (before === null || get.version === '' || !(before.synced > 0)) return none; // Nor where the note does not say.
  const same = before.location === get.location && before.version === get.version && before.size === get.size;
  const { size = 0 } = statSync(get.target, { throwIfNoEntry: false }) ?? {};
  if (!same || size < before.synced) return none;
  const hasher = fresh();
  const end = before.synced - 1;
  const stream = createReadStream(get.target, { end, highWaterMark: 1024 * 1024, signal: get.signal });
  for await (const chunk of stream) hasher.update(chunk as Buffer);
  return hasher.soFar().blake3 === before.blake3 ? { hasher, bytes: before.synced } : none;
}

function readOrigin(target: string): Origin | null {
  const text = textIfThere(originPath(target));
  if (text === null) return null;
  try {
    return JSON.parse(text) as Origin | null;
  } catch {
    return null; // Cut short: nothing is known of what is there.
  }
}

function noteOrigin(target: string, origin: Origin): void {
  const path = originPath(target);
  const made = `${path}.new`; // Always the same, so that a dead attempt's is written over.
  writeSmall(made, JSON.stringify(origin));
  publishFile(made, path);
}

async function writeAt(
  file: FileHandle,
  chunk: Buffer,
  { at, target }: { at: number; target: string },
): Promise<void> {
  try {
    for (let done = 0; done < chunk.length; )
      done += (await file.write(chunk, done, chunk.length - done, at + done)).bytesWritten;
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path: target });
  }
}

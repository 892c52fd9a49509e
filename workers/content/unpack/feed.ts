import { type FileHandle, open } from 'node:fs/promises';
import type { DigestName } from '../../../config/index.ts';
import { createHasher, type Digests } from '../digest/digest.ts';
import { DirectFile } from '../direct-file.ts';
import { fillRing } from '../ring.ts';
import type { LocalSide } from '../threads.ts';

export interface RemoteBundle {
  /** For messages. */
  readonly name: string;
  readonly size: number;
  /** The bytes from `offset` to the end. */
  open(offset: number): AsyncIterable<Buffer>;
}

/**
 * The first side of unpacking for a bundle that comes over a network, in the main thread: waiting for bytes is all that
 * takes time there. Each chunk is digested, kept as staged copy and handed to the extracting thread.
 *
 * @param how `copy`: where the staged copy is made; `kept`: so many bytes of it are there. `beginning`: where there is no
 * copy, what is kept of the bundle in another way
 */
export function feedBundle(
  bundle: RemoteBundle,
  {
    copy,
    digests,
    kept,
    beginning = null,
  }: {
    copy: string | null;
    digests: readonly DigestName[];
    kept: number;
    beginning?: Iterable<Buffer> | null;
  },
): LocalSide<{ size: number; digests: Digests }> {
  return {
    run: async (ring) => {
      const hasher = createHasher(digests);
      const file = copy === null ? null : await DirectFile.open(copy, kept);
      let begun: FileHandle | null = null;
      let size = 0;
      const bytes = async function* (): AsyncGenerator<Buffer> {
        for await (const bytes of begun === null ? inTurns(beginning ?? []) : beginningOf(begun, kept)) {
          hasher.update(bytes);
          size += bytes.length;
          yield bytes;
        }
        for await (const chunk of bundle.open(size)) {
          hasher.update(chunk);
          size += chunk.length;
          yield chunk;
          await file?.write(chunk);
        }
      };
      try {
        if (copy !== null && kept > 0) begun = await open(copy, 'r');
        await fillRing(ring, bytes());
        await file?.sync();
      } finally {
        await begun?.close();
        await file?.close();
      }
      return { size, digests: hasher.digests() };
    },
  };
}

/** Longer than this the event loop does not wait for the disk. */
const TURN_MS = 20;

/** What is read without waiting, with turns of the event loop in between. */
async function* inTurns(pieces: Iterable<Buffer>): AsyncGenerator<Buffer> {
  let turned = performance.now();
  for (const piece of pieces) {
    yield piece;
    if (performance.now() - turned < TURN_MS) continue;
    await new Promise(setImmediate);
    turned = performance.now();
  }
}

async function* beginningOf(file: FileHandle, length: number): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, length - at), at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

import { open } from 'node:fs/promises';
import type { DigestName } from '../../config/index.ts';
import { createHasher, type Digests } from './digest.ts';
import { fillRing } from './ring.ts';
import type { LocalSide } from './threads.ts';

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
 */
export function feedBundle(
  bundle: RemoteBundle,
  { copy, digests }: { copy: string | null; digests: readonly DigestName[] },
): LocalSide<{ size: number; digests: Digests }> {
  return {
    run: async (ring) => {
      const hasher = createHasher(digests);
      const file = copy === null ? null : await open(copy, 'w', 0o644);
      let size = 0;
      const bytes = async function* (): AsyncGenerator<Buffer> {
        for await (const chunk of bundle.open(0)) {
          hasher.update(chunk);
          size += chunk.length;
          yield chunk;
          await file?.writeFile(chunk);
        }
      };
      try {
        await fillRing(ring, bytes());
        await file?.sync();
      } finally {
        await file?.close();
      }
      return { size, digests: hasher.digests() };
    },
  };
}

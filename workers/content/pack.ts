import type { DigestName } from '../../config/index.ts';
import { createHasher, type Digests } from './digest.ts';
import { endManifest, type ManifestCounts } from './manifest.ts';
import { drainRing } from './ring.ts';
import { type LocalSide, type Pair, runPair, type Thread, type ThreadOptions } from './threads.ts';

export interface PackOptions extends ThreadOptions {
  /** The dataset's folder. */
  readonly source: string;
  /** Where the bundle is written; a temporary name, replaced if it exists. */
  readonly target: string;
  /** Where the manifest is written; likewise. */
  readonly manifest: string;
  readonly digests: { readonly member: readonly DigestName[]; readonly bundle: readonly DigestName[] };
}

export interface PackResult extends ManifestCounts {
  /** Of the bundle. */
  readonly size: number;
  /** Of the bundle. */
  readonly digests: Digests;
}

/**
 * Packs a folder into one tar and its manifest in a single pass: each byte of a file is read once, and the same buffer
 * feeds the file's digests, the tar, and the bundle's digests. Two threads share the work (see ring.ts).
 * The same tree gives the same bytes: names in byte order, no access or change times, owners as numbers only.
 * Hard links are stored as files of their own, so that every file can be recalled by its offset.
 * Both files are on disk (fsync) when the promise resolves; after a failure they are litter for the caller to remove.
 *
 * @throws E_SOURCE_CHANGED a file changed, grew, shrank or vanished while it was read
 * @throws E_INSPECTION something can not be read or is no file, directory or link
 */
export async function packBundle(options: PackOptions): Promise<PackResult> {
  const { target, digests } = options;
  const writer: Thread = {
    file: new URL('./pack-writer.ts', import.meta.url),
    data: { target, digests: digests.bundle },
  };
  return ended(options, await packInto<Packed>(options, writer, target));
}

/**
 * The same for a bundle that goes away as it is made, without a file of it here. `take` is given its bytes and resolves
 * when they have arrived; a buffer stays valid after the next one was asked for.
 */
export async function packStream(
  options: Omit<PackOptions, 'target'>,
  take: (bytes: AsyncIterable<Buffer>) => Promise<void>,
): Promise<PackResult> {
  const side: LocalSide<Packed> = {
    run: async (ring) => {
      const hasher = createHasher(options.digests.bundle);
      let size = 0;
      const bytes = async function* (): AsyncGenerator<Buffer> {
        for await (const slot of drainRing(ring)) {
          hasher.update(slot);
          size += slot.length;
          yield Buffer.from(slot); // A copy: who sends it may hold it for long, the slot is needed at once.
        }
      };
      await take(bytes());
      return { size, digests: hasher.digests() };
    },
  };
  return ended(options, await packInto<Packed>(options, side, null));
}

interface Packed {
  readonly size: number;
  readonly digests: Digests;
}

interface Walked {
  readonly counts: ManifestCounts;
  readonly body: string;
}

function packInto<B>(
  options: Omit<PackOptions, 'target'>,
  writer: Thread | LocalSide<B>,
  writes: string | null,
): Promise<Pair<Walked, B>> {
  const { source, manifest, digests } = options;
  const reader: Thread = {
    file: new URL('./pack-reader.ts', import.meta.url),
    data: { source, manifest, digests: digests.member },
  };
  return runPair<Walked, B>(reader, writer, { ...options, writes });
}

function ended({ manifest }: { manifest: string }, pair: Pair<Walked, Packed>): PackResult {
  if (pair.error !== null) throw pair.error;
  if (pair.first === null || pair.second === null) throw new Error('a thread stopped without a reason');
  const { counts, body } = pair.first;
  endManifest(manifest, { counts, bundle: pair.second, body });
  return { ...counts, ...pair.second };
}

import type { DigestName } from '../../config/index.ts';
import type { Digests } from './digest.ts';
import { endManifest, type ManifestCounts } from './manifest.ts';
import { runPair, type ThreadOptions } from './threads.ts';

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
  const { source, target, manifest, digests } = options;
  const pair = await runPair<{ counts: ManifestCounts; body: string }, { size: number; digests: Digests }>(
    {
      file: new URL('./pack-reader.ts', import.meta.url),
      data: { source, manifest, digests: digests.member },
    },
    { file: new URL('./pack-writer.ts', import.meta.url), data: { target, digests: digests.bundle } },
    { ...options, writes: target },
  );
  if (pair.error !== null) throw pair.error;
  if (pair.first === null || pair.second === null) throw new Error('a thread stopped without a reason');
  const { counts, body } = pair.first;
  endManifest(manifest, { counts, bundle: pair.second, body });
  return { ...counts, ...pair.second };
}

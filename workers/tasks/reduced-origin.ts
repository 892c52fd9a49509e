/**
 * An archived bundle gives way to what its origin holds now, but not to less: an origin that was cleaned up in part, emptied,
 * or whose mount is not there would take the last copy of its files with it.
 */
import { existsSync } from 'node:fs';
import { openManifest } from '../archive/bundles.ts';
import type { Archive } from '../archive/contract.ts';
import type { Catalog } from '../catalog/contract.ts';
import { type Comparison, compareTree } from '../content/compare/compare.ts';
import { type Dataset, isHeld } from '../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import type { TaskContext } from './contract.ts';

/** Of the ledger: looks at the size alone may be the newest ones. */
const LINES = 100;

/**
 * To be called before a bundle is packed over what the archives hold at `key`. Says nothing against a bundle that is recorded
 * and was never proven, which nobody relies on yet, nor where the kwarg `force` is true. One that is not recorded is of an
 * attempt that was killed, of a catalog that was lost or set back, or of another system: then somebody may rely on it. Of the
 * first an archive that is streamed to may hold no manifest, which follows the bundle; it was noted before the first byte.
 * @param archives that hold something at `key`
 * @throws E_ORIGIN_REDUCED, E_BUNDLE_UNKNOWN
 */
export async function refuseReduced(
  ctx: TaskContext,
  { archives, dataset, key }: { archives: readonly Archive[]; dataset: Dataset; key: string },
): Promise<void> {
  if (ctx.kwargs.force === true || !existsSync(dataset.origin_path)) return;
  const recorded = dataset.archive_path !== null && dataset.bundle != null;
  if (recorded && !(await isReliedOn(ctx.catalog, dataset))) return;
  for (const archive of archives) {
    const compared = await comparedWith(ctx, { archive, dataset, key });
    if (compared === null && !recorded && dataset.metadata.archive_begun !== key)
      throw unknownBundle(dataset, archive, key);
    const reduced = compared === null ? null : whyReduced(dataset, compared);
    if (reduced !== null) throw reduced;
  }
}

/** What it holds is not known, so neither is what would be lost with it. */
function unknownBundle({ id, name }: Dataset, archive: Archive, key: string): LongshoreError {
  const where = archive.locate(key);
  return new LongshoreError(
    'E_BUNDLE_UNKNOWN',
    `${where} holds a bundle without a sound manifest that is not recorded for ${name}; it was left as it is`,
    { fields: { dataset_id: id, archive: archive.name, path: where } },
  );
}

/** Null: this archive has no manifest that could tell. */
async function comparedWith(
  ctx: TaskContext,
  { archive, dataset, key }: { archive: Archive; dataset: Dataset; key: string },
): Promise<Comparison | null> {
  const { signal } = ctx;
  const manifest = await openManifest(archive, key, { scratch: ctx.config.paths.scratch, signal });
  if (manifest === null) return null;
  try {
    return await compareTree({
      root: dataset.origin_path,
      manifest: manifest.path,
      level: 'stream',
      signal,
    });
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_BUNDLE_CORRUPT') throw error;
    const about = { archive: archive.name, key, reason: error.message };
    ctx.log.warn(about, 'the archived manifest is damaged; what the origin lacks of it is not known');
    return null;
  } finally {
    manifest.close();
  }
}

/**
 * Adopted from an archive whose catalog was lost, or recorded and read back: its origin may have been given up. So may that
 * of a bundle which took the place of one that was read back: it gave way to more, and must not give way to less before it
 * is read itself.
 */
export async function isReliedOn(
  { proofs }: Pick<Catalog, 'proofs'>,
  { id, archive_path, bundle, metadata }: Dataset,
): Promise<boolean> {
  if (archive_path === null || bundle == null) return false;
  if (bundle.verified_at !== null || typeof metadata.adopted_at === 'string') return true;
  const held = await proofs({ dataset_id: id, result: 'ok', limit: LINES });
  return held.some(isHeld);
}

/** Null: it has all files of the manifest with at least as many bytes. */
export function whyReduced(
  { id, name, origin_path }: Dataset,
  { num_lost, first_lost }: Pick<Comparison, 'num_lost' | 'first_lost'>,
): LongshoreError | null {
  if (first_lost === null) return null;
  const [path, reason] = first_lost;
  const which = num_lost === 1 ? '1 file' : `${num_lost} files, first`;
  return new LongshoreError(
    'E_ORIGIN_REDUCED',
    `the origin of ${name} holds less than what is archived of it: ${which} "${path}" ${reason}`,
    { fields: { dataset_id: id, origin_path, path, reason, total: num_lost } },
  );
}

/** What belongs together in an archive: a bundle and its manifest. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { isClaimed, makeClaim } from '../content/claim.ts';
import { checkManifest, type ManifestTrailer } from '../content/manifest.ts';
import { namesIn, removeFile } from '../content/publish.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import { type Archive, type ArchivedObject, type CallOptions, manifestKey, originPath } from './contract.ts';

/**
 * A manifest as a local file: in place where the archive is local, else a copy that `close` removes, or the next one when
 * this process dies.
 */
export interface OpenManifest {
  readonly path: string;
  close(): void;
}

/**
 * The manifest of an archived bundle; null when there is none (a bundle that another system archived).
 * @param scratch folder for the copy
 */
export async function openManifest(
  archive: Archive,
  key: string,
  { scratch, signal }: CallOptions & { scratch: string },
): Promise<OpenManifest | null> {
  const wanted = manifestKey(key);
  const options = signal === undefined ? {} : { signal };
  if ((await archive.stat(wanted, options)) === null) return null;
  if (archive.local !== null) return { path: archive.local.path(wanted), close: () => undefined };
  const place = manifestPlace(scratch);
  try {
    await archive.get(wanted, place.path, options);
    return place;
  } catch (error) {
    place.close();
    throw error;
  }
}

/** Where a manifest that is not kept can be made. */
export function manifestPlace(scratch: string): OpenManifest {
  makeFolders(scratch);
  removeDead(scratch);
  const claim = makeClaim(join(scratch, `.manifest-${randomUUID()}${CLAIM}`));
  const path = ofClaim(claim.path);
  return {
    path,
    close: () => {
      removeFile(path);
      removeFile(originPath(path));
      claim.release();
    },
  };
}

const CLAIM = '.claim';
const ofClaim = (claim: string): string => `${claim.slice(0, -CLAIM.length)}.ndjson`;

/** Those of processes that were killed. */
function removeDead(scratch: string): void {
  for (const name of namesIn(scratch)) {
    const claim = join(scratch, name);
    if (!name.startsWith('.manifest-') || !name.endsWith(CLAIM) || isClaimed(claim)) continue;
    removeFile(ofClaim(claim));
    removeFile(originPath(ofClaim(claim)));
    removeFile(claim);
  }
}

/** The proven end of an archived bundle's manifest; null without a manifest. @throws E_BUNDLE_CORRUPT */
export async function readManifestTrailer(
  archive: Archive,
  key: string,
  options: CallOptions & { scratch: string },
): Promise<ManifestTrailer | null> {
  const manifest = await openManifest(archive, key, options);
  if (manifest === null) return null;
  try {
    return checkManifest(manifest.path);
  } finally {
    manifest.close();
  }
}

/** @throws E_BUNDLE_MISSING, E_ARCHIVE_UNAVAILABLE */
export async function statBundle(archive: Archive, key: string): Promise<ArchivedObject> {
  const found = await archive.stat(key);
  if (found !== null) return found;
  throw new LongshoreError('E_BUNDLE_MISSING', `the archive holds no bundle ${archive.locate(key)}`, {
    fields: { archive: archive.name, path: archive.locate(key) },
  });
}

/** The bundle first: a manifest alone is litter that the next delete finds, a bundle alone would lose its proof. */
export async function deleteBundle(
  archive: Archive,
  key: string,
  options: CallOptions = {},
): Promise<boolean> {
  const removed = await archive.delete(key, options);
  await archive.delete(manifestKey(key), options);
  return removed;
}

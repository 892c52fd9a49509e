/** Unpacks one archive's copy of a bundle, however that archive gives bytes. */
import { openManifest, statBundle } from '../archive/bundles.ts';
import type { Copy } from '../archive/copies.ts';
import { fetchPlace } from '../archive/index.ts';
import { type FetchedBundle, fetchShared } from '../archive/shared-fetch.ts';
import { dropCachedOfOthers } from '../content/page-cache.ts';
import { type RemoteBundle, unpackBundle, type UnpackResult } from '../content/unpack/unpack.ts';
import { roughSize } from '../dataset/byte-size.ts';
import type { TaskContext } from './contract.ts';
import type { Places, Staging } from './staging-places.ts';

/** From wherever the bundle is: a file in place, bytes by the stream, or a file that must be fetched whole first. */
export async function unpackCopy(
  ctx: TaskContext,
  { dataset, bundle, copy }: Staging,
  places: Places,
  onBytes: (bytes: number) => void,
): Promise<{ unpacked: UnpackResult; with_manifest: boolean }> {
  const { archive, key } = copy;
  const { signal } = ctx;
  const found = await statBundle(archive, key);
  const manifest = await openManifest(archive, key, { scratch: ctx.config.paths.scratch, signal });
  const digests = expectedDigests({ bundle, copy });
  const common = {
    target: places.treePartial,
    expect: { size: bundle.size, digests, bytes: roughSize(dataset.size) },
    foreign: ctx.config.bundle,
    // Without a recorded digest of the bundle each member has to prove itself, whatever that costs.
    ...(Object.keys(digests).length > 0 ? {} : ({ verify: 'member' } as const)),
    resume: true,
    source: archive.locate(key),
    onResume: (kept: number) => ctx.log.info({ kept }, 'goes on with what an earlier attempt left'),
    signal,
    onProgress: ({ bytes }: { bytes: number }) => onBytes(bytes),
    ...(manifest === null ? {} : { manifest: manifest.path }),
  };
  const copyTo = places.bundlePartial === null ? {} : { copy: places.bundlePartial };
  try {
    if (archive.local !== null) {
      const path = archive.local.path(key);
      await dropCachedOfOthers(path);
      const unpacked = await unpackBundle({ ...common, ...copyTo, bundle: path });
      return { unpacked, with_manifest: manifest !== null };
    }
    if (archive.capabilities.range) {
      const remote: RemoteBundle = {
        name: archive.locate(key),
        size: found.size,
        open: (offset) => archive.read(key, { offset, signal }),
      };
      const unpacked = await unpackBundle({ ...common, ...copyTo, bundle: remote });
      return { unpacked, with_manifest: manifest !== null };
    }
    const fetched = await fetch(ctx, copy, { size: found.size, own: places.bundlePartial ?? places.fetched });
    try {
      const shared = fetched.path === places.bundlePartial ? {} : copyTo;
      const unpacked = await unpackBundle({ ...common, ...shared, bundle: fetched.path });
      return { unpacked, with_manifest: manifest !== null };
    } finally {
      await fetched.close();
    }
  } finally {
    manifest?.close();
  }
}

/** A recall or a proof of the same bundle may be at it already, or come meanwhile. */
async function fetch(
  ctx: TaskContext,
  { archive, key }: Copy,
  wanted: { size: number; own: string },
): Promise<FetchedBundle> {
  const meter = ctx.progress(`fetch from ${archive.name}`, { total: wanted.size, units: 'bytes' });
  const fetched = await fetchShared({
    archive,
    key,
    ...wanted,
    ...fetchPlace(ctx.config),
    fresh: true,
    signal: ctx.signal,
    onProgress: (bytes) => meter.set(bytes),
  });
  meter.end();
  return fetched;
}

/**
 * Older records hold only the md5, in its own column. Those of the copy count where the bundle has none; beside others they
 * would only be computed as well.
 */
export function expectedDigests({ bundle, copy }: Pick<Staging, 'bundle' | 'copy'>): Record<string, string> {
  const known = bundle.md5 === null ? bundle.digests : { ...bundle.digests, md5: bundle.md5 };
  return Object.keys(known).length > 0 ? known : (copy.recorded?.digests ?? {});
}

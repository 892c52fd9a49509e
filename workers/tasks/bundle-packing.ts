/** Makes the bundle of a dataset and brings it into its archives, as the archiving task needs it. */
import { dirname } from 'node:path';
import type { DigestName } from '../../config/index.ts';
import { manifestPlace } from '../archive/bundles.ts';
import { type Archive, type LocalPut, manifestKey } from '../archive/contract.ts';
import { beginLocalPut } from '../archive/filesystem.ts';
import { sizeOfFile } from '../content/files.ts';
import type { ManifestCounts } from '../content/manifest.ts';
import { packBundle, packStream } from '../content/pack/pack.ts';
import type { ProgressCounts } from '../content/ring.ts';
import { reserveSpace } from '../content/space.ts';
import { roughSize } from '../dataset/byte-size.ts';
import { askedDigests, memberDigestsOf } from '../dataset/digests.ts';
import { bundleEstimate, weightOf } from '../dataset/estimates.ts';
import { generatedBundleOf } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { assertStored, type BundleFacts, fetchBundle, putCopy } from './bundle-copies.ts';
import { clearRest, type TaskContext } from './contract.ts';
import { makeFolders } from '../folders.ts';

export interface Archived {
  readonly counts: Pick<ManifestCounts, 'num_files' | 'num_directories' | 'bytes'>;
  readonly bundle: BundleFacts;
}

/** The configured ones, and those by which the archives can prove what they hold. */
export const bundleDigestsOf = (ctx: TaskContext, archives: readonly Archive[]): DigestName[] => [
  ...new Set([
    ...ctx.config.digests.bundle,
    ...askedDigests(ctx.catalog),
    ...archives.flatMap(({ capabilities }) => (capabilities.digest === null ? [] : [capabilities.digest])),
  ]),
];

/**
 * Packs where the bytes end up, whenever that is possible: into the file system that is one of the archives, or
 * straight into the only archive that takes a stream. Else into a file that is removed afterwards.
 */
export async function packInto(
  ctx: TaskContext,
  archives: readonly Archive[],
  dataset: Dataset,
  key: string,
): Promise<Archived> {
  const local = archives.find((archive) => archive.local !== null);
  const [only] = archives;
  if (local?.local) {
    const target = await local.local.beginPut(key, { task_id: ctx.run.task_id });
    return packToFile(ctx, { archives, dataset, target }, async (archived) => {
      await target.commit();
      const others = archives.filter((archive) => archive !== local);
      if (others.length > 0) await fill(ctx, { archives: others, from: local, key, archived });
    });
  }
  if (archives.length === 1 && only?.capabilities.stream === true)
    return packToStream(ctx, { archive: only, dataset, key });
  const generated = generatedBundleOf(ctx.config, dataset);
  makeFolders(dirname(generated));
  const target = await beginLocalPut(generated, ctx.run.task_id);
  return packToFile(ctx, { archives, dataset, target }, async (archived) => {
    const bundle = { path: target.path, manifestPath: target.manifestPath, ...archived.bundle };
    for (const archive of archives) await putCopy(ctx, archive, key, bundle);
  });
}

interface PackJob {
  readonly archives: readonly Archive[];
  readonly dataset: Dataset;
  readonly target: LocalPut;
}

async function packToFile(
  ctx: TaskContext,
  { archives, dataset, target }: PackJob,
  bring: (archived: Archived) => Promise<void>,
): Promise<Archived> {
  let failure: unknown = null;
  try {
    const archived = await pack(ctx, archives, dataset, target);
    await ctx.lease.assert();
    await bring(archived);
    return archived;
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    // Of a committed bundle nothing is left to remove.
    await clearRest(ctx, failure, () => target.abort());
  }
}

async function pack(
  ctx: TaskContext,
  archives: readonly Archive[],
  dataset: Dataset,
  target: LocalPut,
): Promise<Archived> {
  const space = reserveSpace({
    folder: dirname(target.path),
    // Less what a dead attempt has written.
    bytes: Math.max(0, bundleEstimate(weightOf(dataset), ctx.config.bundle) - sizeOfFile(target.path)),
    keep: ctx.config.stage.reserve_bytes,
    state_dir: ctx.config.state_dir,
    holder: ctx.run.task_id,
  });
  const meter = packMeter(ctx, dataset);
  try {
    const { size, digests, warnings, ...counts } = await packBundle({
      ...packOptions(ctx, archives, dataset),
      target: target.path,
      manifest: target.manifestPath,
      resume: true,
      checkpoint_bytes: ctx.config.archive.checkpoint_bytes,
      onResume: (kept) => ctx.log.info({ kept }, 'goes on with the half bundle of an earlier attempt'),
      onProgress: (counts) => {
        meter.show(counts);
        space.spent(counts.bytes - counts.skipped);
      },
    });
    meter.end();
    warn(ctx, dataset, warnings);
    return { counts, bundle: { size, digests } };
  } finally {
    space.release();
  }
}

/**
 * Measured by what the inspection has weighed: directories and links too, of a file with several names one. What has come or
 * grown since then is packed without being shown, and what has gone is made up for at the end.
 */
function packMeter(ctx: TaskContext, { du_size }: Dataset) {
  const total = roughSize(du_size);
  const meter = ctx.progress('archive', { total, units: 'bytes' });
  let last = 0;
  return {
    show: ({ bytes, skipped }: ProgressCounts): void => {
      last = skipped;
      meter.set(total === null ? bytes : Math.min(bytes, total), skipped);
    },
    end: (): void => {
      if (total !== null) meter.set(total, last);
      meter.end();
    },
  };
}

const warn = (ctx: TaskContext, { origin_path }: Dataset, warnings: readonly string[]): void => {
  for (const warning of warnings) ctx.log.warn({ origin_path }, warning);
};

const packOptions = (ctx: TaskContext, archives: readonly Archive[], dataset: Dataset) => ({
  ...ctx.config.bundle,
  source: dataset.origin_path,
  digests: {
    member: memberDigestsOf(ctx.config, ctx.catalog),
    bundle: bundleDigestsOf(ctx, archives),
  },
  signal: ctx.signal,
});

/**
 * No copy of the bundle is made here; only its manifest is, which follows when the bundle is complete. One that is
 * killed in between is packed again, since a bundle without its manifest does not count.
 */
async function packToStream(
  ctx: TaskContext,
  { archive, dataset, key }: { archive: Archive; dataset: Dataset; key: string },
): Promise<Archived> {
  const { signal } = ctx;
  const { task_id } = ctx.run;
  const place = manifestPlace(ctx.config.paths.scratch);
  const manifest = place.path;
  const meter = packMeter(ctx, dataset);
  try {
    await archive.ensureReachable(key, { signal });
    const { size, digests, warnings, ...counts } = await packStream(
      {
        ...packOptions(ctx, [archive], dataset),
        manifest,
        onProgress: meter.show,
      },
      async (stream) => {
        // The last look at the lease is before the bundle takes the place of another one.
        const proving = async function* (): AsyncGenerator<Buffer> {
          yield* stream;
          await ctx.lease.assert();
        };
        await archive.put(key, { stream: proving(), size: null }, { task_id, signal });
      },
    );
    const stored = await archive.stat(key, { signal });
    assertStored(archive, key, { size, digests }, stored ?? { size: 0, digests: {} });
    await archive.put(manifestKey(key), { file: manifest }, { task_id, signal });
    meter.end();
    warn(ctx, dataset, warnings);
    return { counts, bundle: { size, digests } };
  } finally {
    place.close();
  }
}

/** Brings the bundle that one archive holds into others. */
export async function fill(
  ctx: TaskContext,
  parts: { archives: readonly Archive[]; from: Archive; key: string; archived: Archived },
): Promise<void> {
  const { archives, from, key, archived } = parts;
  const folder = ctx.config.paths.scratch;
  const bundle = await fetchBundle(ctx, { archive: from, key, facts: archived.bundle, folder });
  try {
    for (const archive of archives) await putCopy(ctx, archive, key, bundle);
  } finally {
    await bundle.close();
  }
}

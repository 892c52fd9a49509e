/**
 * Packs a dataset into one bundle, reading every byte once, and brings it into each archive of its type. What an archive
 * holds already stays, unless the origin has changed or the copy was found damaged: then it is written anew, said loudly.
 * An origin that holds less than a proven bundle is refused, unless the kwarg `force` is true (reduced-origin.ts).
 */
import { existsSync } from 'node:fs';
import { openManifest } from '../archive/bundles.ts';
import type { Archive, ArchivedObject } from '../archive/contract.ts';
import { archivesOf } from '../archive/index.ts';
import type { DatasetPatch } from '../catalog/contract.ts';
import { compareTree } from '../content/compare/compare.ts';
import type { Digests } from '../content/digest/digest.ts';
import { inspectTree } from '../content/inspect.ts';
import { manifestFileRows } from '../content/file-rows.ts';
import { checkManifest } from '../content/manifest.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { byteSize } from '../dataset/byte-size.ts';
import { archivePathOf, bundleName } from '../dataset/paths.ts';
import { type BundleCopy, type Dataset, openFinding } from '../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { complete, provenAt, recordCopies, sameDigests, tellReplaced } from './archived-copies.ts';
import { type Archived, bundleDigestsOf, packInto } from './bundle-packing.ts';
import { defineTask, type TaskContext } from './contract.ts';
import { turnTaken } from './dataset-turn.ts';
import { refuseDeleted } from './deleted-meanwhile.ts';
import { refuseReduced } from './reduced-origin.ts';
import { transfersTaken } from './transfer-permit.ts';

export const task = defineTask({
  description: 'Packs the dataset into one bundle in each of its archives, with a manifest of every file.',
  run: async (ctx) => {
    const turn = await turnTaken(ctx);
    if (turn !== null) return turn;
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const archives = archivesOf(ctx.config, dataset.type);
    const waiting = await transfersTaken(ctx, archives);
    if (waiting !== null) return waiting;
    const key = await targetOf(ctx, dataset);
    const known = await ctx.catalog.copies(ctx.dataset_id);
    const damaged = known.filter((copy) => copy.key === key && openFinding(copy) !== null);
    const there = await findArchived(ctx, { archives, dataset, key, damaged });
    const { archived, written } =
      (await complete(ctx, { archives, key, ...there })) ??
      (await packAnew(ctx, archives, { dataset, key, filled: there.filled }));
    await refuseDeleted(ctx, { dataset, key, written });
    await tellReplaced(ctx, key, written);
    const inspected = await assertInspected(ctx, dataset, archived.counts);
    const held = await recordFiles(ctx, archives, key);
    await recordCopies(ctx, { archives, key, known, bundle: archived.bundle, written });
    await ctx.catalog.patch(dataset.id, {
      archive_path: key,
      ...sizesOf(inspected, held),
      bundle: {
        name: bundleName(dataset),
        size: archived.bundle.size,
        md5: archived.bundle.digests.md5 ?? null,
        digests: archived.bundle.digests,
        verified_at: await provenAt(ctx, dataset, archived.bundle, written),
      },
    });
    await reachState(ctx.catalog, dataset.id, 'ARCHIVED', ctx.run.workflow_id);
    return [dataset.id];
  },
});

async function packAnew(
  ctx: TaskContext,
  archives: readonly Archive[],
  { dataset, key, filled }: { dataset: Dataset; key: string; filled: readonly Archive[] },
): Promise<{ archived: Archived; written: readonly Archive[] }> {
  await refuseReduced(ctx, { archives: filled, dataset, key });
  // From now on a bundle without a manifest may be what this attempt left.
  if (dataset.archive_path === null && dataset.metadata.archive_begun !== key)
    await ctx.catalog.patch(dataset.id, { metadata: { archive_begun: key } });
  return { archived: await packInto(ctx, archives, dataset, key), written: archives };
}

/**
 * Where this dataset's bundle goes; noted before the first byte, so that an attempt that was killed on New Year's Eve
 * is found again under the year in which it began.
 */
async function targetOf(ctx: TaskContext, dataset: Dataset): Promise<string> {
  if (dataset.archive_path !== null) return dataset.archive_path;
  const noted = dataset.metadata.archive_target;
  if (typeof noted === 'string' && noted !== '') return noted;
  const key = archivePathOf(ctx.config, dataset);
  await ctx.catalog.patch(dataset.id, { metadata: { archive_target: key } });
  return key;
}

/**
 * The archives that hold a complete bundle of what the origin still holds (names, sizes, times of change): a repeat of
 * this step, or one that was killed between an archive and the catalog, has nothing to write there.
 * @returns also those where anything lies at `key`, which packing would replace
 */
async function findArchived(
  ctx: TaskContext,
  parts: {
    archives: readonly Archive[];
    dataset: Dataset;
    key: string;
    damaged: readonly BundleCopy[];
  },
): Promise<{ holders: Archive[]; filled: Archive[]; archived: Archived | null }> {
  const { dataset, key } = parts;
  const holders: Archive[] = [];
  const filled: Archive[] = [];
  let archived: Archived | null = null;
  // An origin that was deleted since it was archived has nothing to say: what is recorded decides, and nothing is packed.
  const origin = existsSync(dataset.origin_path) ? dataset.origin_path : null;
  const recorded = origin === null ? (dataset.bundle?.digests ?? {}) : null;
  for (const archive of parts.archives) {
    if (parts.damaged.some((copy) => copy.archive === archive.name)) {
      filled.push(archive);
      continue;
    }
    await archive.prepare(key, { signal: ctx.signal }); // To the first put a new archive is not away.
    const there = await archive.stat(key, { signal: ctx.signal });
    if (there === null) continue;
    filled.push(archive);
    const found = await bundleIn(ctx, archive, { key, there, origin: archived === null ? origin : null });
    if (found === null) continue;
    // The first one was compared with the origin; another one holds the same when its bundle has the same digests.
    const expected = archived?.bundle.digests ?? recorded;
    if (expected !== null && !sameDigests(expected, found.bundle.digests)) continue;
    archived ??= found;
    holders.push(archive);
  }
  return { holders, filled, archived };
}

/** @param origin to compare it with; null: not needed */
async function bundleIn(
  ctx: TaskContext,
  archive: Archive,
  { key, there, origin }: { key: string; there: ArchivedObject; origin: string | null },
): Promise<Archived | null> {
  const { signal } = ctx;
  const manifest = await openManifest(archive, key, { scratch: ctx.config.paths.scratch, signal });
  if (manifest === null) return null;
  try {
    const trailer = readTrailer(ctx, manifest.path);
    if (trailer === null || trailer.bundle.size !== there.size) return null;
    if (!coversDigests(ctx, archive, trailer.bundle.digests)) return null;
    if (origin !== null) {
      const compared = await compareTree({
        root: origin,
        manifest: manifest.path,
        level: 'stream',
        times: 'report',
        signal,
      });
      if (compared.num_problems > 0) return null;
    }
    ctx.log.info({ archive: archive.name, key, size: there.size }, 'the archived bundle is up to date');
    return { counts: trailer.counts, bundle: trailer.bundle };
  } finally {
    manifest.close();
  }
}

function readTrailer(ctx: TaskContext, path: string): ReturnType<typeof checkManifest> | null {
  try {
    return checkManifest(path);
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_BUNDLE_CORRUPT') throw error;
    ctx.log.warn(
      { path, reason: error.message },
      'the archived manifest is damaged; the bundle is made anew',
    );
    return null;
  }
}

/** Digests that are configured now, and the one that the archive states; a bundle from before such a change is made anew. */
const coversDigests = (ctx: TaskContext, archive: Archive, digests: Digests): boolean =>
  bundleDigestsOf(ctx, [archive]).every((name) => digests[name] !== undefined);

/**
 * The bundle must hold what the inspection counted. A difference means that the origin changed in between: either it
 * is at rest again and equals the bundle, then the new counts are recorded, or it is still being written.
 * @returns the sizes that are recorded now
 */
async function assertInspected(
  ctx: TaskContext,
  dataset: Dataset,
  counts: Archived['counts'],
): Promise<Sizes> {
  const agrees = (found: { num_files: number | null; num_directories: number | null }): boolean =>
    found.num_files === counts.num_files && found.num_directories === counts.num_directories;
  if (agrees(dataset)) return dataset;
  const found = await inspectTree({
    root: dataset.origin_path,
    genome_file_types: ctx.config.genome_file_types,
    signal: ctx.signal,
  });
  if (!agrees(found)) {
    throw new LongshoreError(
      'E_SOURCE_CHANGED',
      `${dataset.origin_path} holds ${found.num_files} files now, the bundle ${counts.num_files}`,
      { fields: { path: dataset.origin_path, found: found.num_files, archived: counts.num_files } },
    );
  }
  if (dataset.num_files !== null)
    ctx.log.warn({ counts }, 'the origin changed after its inspection; counted again');
  const { du_size, size, num_files, num_directories, num_genome_files, hole_bytes } = found;
  await ctx.catalog.patch(dataset.id, {
    du_size,
    size,
    num_files,
    num_directories,
    metadata: { num_genome_files, hole_bytes },
  });
  return found;
}

type Sizes = Pick<Dataset, 'size' | 'du_size'>;

/** A file that grew between inspection and packing changes no count: the size is what the bundle holds, too. */
function sizesOf({ size, du_size }: Sizes, held: bigint): Pick<DatasetPatch, 'size' | 'du_size'> {
  const grown = size === null || du_size === null ? 0n : held - BigInt(size);
  return {
    size: byteSize(held),
    ...(du_size === null || grown === 0n ? {} : { du_size: byteSize(BigInt(du_size) + grown) }),
  };
}

/** @returns the sizes of all rows together, as the inspection adds them up */
async function recordFiles(ctx: TaskContext, archives: readonly Archive[], key: string): Promise<bigint> {
  const holder = archives.find(({ local }) => local !== null) ?? archives[0];
  const manifest =
    holder === undefined
      ? null
      : await openManifest(holder, key, { scratch: ctx.config.paths.scratch, signal: ctx.signal });
  if (manifest === null) throw new Error(`the archive kept no manifest of ${key}`);
  try {
    const generation = `archive ${ctx.run.task_id}.${ctx.run.attempt}`;
    let held = 0n;
    for await (const rows of manifestFileRows(manifest.path, ctx.config.inspect.file_metadata_batch_size)) {
      await ctx.catalog.putFiles(ctx.dataset_id, rows, generation);
      for (const { size } of rows) held += BigInt(size);
    }
    await ctx.catalog.sweepFiles(ctx.dataset_id, generation, (wait) => ctx.report({ ...wait }));
    return held;
  } finally {
    manifest.close();
  }
}

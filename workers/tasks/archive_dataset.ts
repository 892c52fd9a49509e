/** Packs a dataset into one bundle in the archive, with its manifest, reading every byte once. */
import { dirname } from 'node:path';
import { type Archive, type LocalArchive, type LocalPut, manifestKey } from '../archive/contract.ts';
import { archivesOf } from '../archive/index.ts';
import { compareTree } from '../content/compare.ts';
import type { Digests } from '../content/digest.ts';
import { inspectTree } from '../content/inspect.ts';
import { checkManifest, type ManifestCounts, manifestFileRows } from '../content/manifest.ts';
import { packBundle } from '../content/pack.ts';
import { reserveSpace } from '../content/space.ts';
import { memberDigestsOf } from '../dataset/digests.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { archivePathOf, bundleName } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { defineTask, type TaskContext } from './contract.ts';

interface Archived {
  readonly counts: Pick<ManifestCounts, 'num_files' | 'num_directories' | 'bytes'>;
  readonly bundle: { readonly size: number; readonly digests: Digests };
}

export const task = defineTask({
  description: 'Packs the dataset into one bundle in the archive, with a manifest of every file.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const archive = openArchive(ctx.config);
    const key = await targetOf(ctx, dataset);
    const archived = await put(ctx, archive, dataset, key);
    await assertInspected(ctx, dataset, archived.counts);
    await recordFiles(ctx, archive, key);
    const unchanged = dataset.bundle?.size === archived.bundle.size;
    const proven = unchanged && sameDigests(dataset.bundle?.digests ?? {}, archived.bundle.digests);
    await ctx.catalog.patch(dataset.id, {
      archive_path: key,
      bundle: {
        name: bundleName(dataset),
        size: archived.bundle.size,
        md5: archived.bundle.digests.md5 ?? null,
        digests: archived.bundle.digests,
        verified_at: proven ? (dataset.bundle?.verified_at ?? null) : null,
      },
    });
    await reachState(ctx.catalog, dataset.id, 'ARCHIVED', ctx.run.workflow_id);
    return [dataset.id];
  },
});

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
 * A bundle that is there, complete, and still what the origin holds (names, sizes, times of change): a repeat of this
 * step, or one that was killed between the archive and the catalog, has nothing to write.
 */
async function findArchived(
  ctx: TaskContext,
  archive: Archive,
  dataset: Dataset,
  key: string,
): Promise<Archived | null> {
  const there = await archive.stat(key);
  if (there === null) return null;
  const { manifestPath } = await archive.openBundle(key);
  if (manifestPath === null) return null;
  const manifest = readTrailer(ctx, manifestPath);
  if (manifest === null || manifest.bundle.size !== there.size) return null;
  if (!coversDigests(ctx, manifest.bundle.digests)) return null;
  const { num_problems } = await compareTree({
    root: dataset.origin_path,
    manifest: manifestPath,
    level: 'stream',
    times: 'report',
    signal: ctx.signal,
  });
  if (num_problems > 0) return null;
  ctx.log.info({ key, size: there.size }, 'the archived bundle is up to date; nothing is written again');
  return { counts: manifest.counts, bundle: manifest.bundle };
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

/** Digests that are configured now; a bundle from before such a change is made anew. */
const coversDigests = (ctx: TaskContext, digests: Digests): boolean =>
  ctx.config.digests.bundle.every((name) => digests[name] !== undefined);

/** Packs into the archive's own file system and publishes there, unless the bundle is there already. */
async function put(ctx: TaskContext, archive: Archive, dataset: Dataset, key: string): Promise<Archived> {
  const target = await archive.beginPut(key, { task_id: ctx.run.task_id });
  try {
    const found = await findArchived(ctx, archive, dataset, key);
    if (found !== null) return found;
    const packed = await pack(ctx, dataset, target);
    await ctx.lease.assert();
    await target.commit();
    return packed;
  } finally {
    await target.abort(); // Of a committed bundle nothing is left to remove.
  }
}

async function pack(ctx: TaskContext, dataset: Dataset, target: ArchivePut): Promise<Archived> {
  const space = reserveSpace({
    folder: dirname(target.path),
    bytes: bundleEstimate(dataset),
    keep: ctx.config.stage.reserve_bytes,
    state_dir: ctx.config.state_dir,
    holder: ctx.run.task_id,
  });
  const meter = ctx.progress('archive', { total: dataset.du_size, units: 'bytes' });
  try {
    const { size, digests, ...counts } = await packBundle({
      source: dataset.origin_path,
      target: target.path,
      manifest: target.manifestPath,
      digests: { member: memberDigestsOf(ctx.config, ctx.catalog), bundle: ctx.config.digests.bundle },
      signal: ctx.signal,
      onProgress: ({ bytes }) => {
        meter.set(bytes);
        space.spent(bytes);
      },
    });
    meter.end();
    return { counts, bundle: { size, digests } };
  } finally {
    space.release();
  }
}

/** A tar header and padding per member on top of the data; a long path needs three more blocks. */
function bundleEstimate(dataset: Dataset): number {
  const members = (dataset.num_files ?? 0) + (dataset.num_directories ?? 0) + 1;
  return (dataset.size ?? dataset.du_size ?? 0) + members * 1024 + 10 * 1024;
}

/**
 * The bundle must hold what the inspection counted. A difference means that the origin changed in between: either it
 * is at rest again and equals the bundle, then the new counts are recorded, or it is still being written.
 */
async function assertInspected(
  ctx: TaskContext,
  dataset: Dataset,
  counts: Archived['counts'],
): Promise<void> {
  const agrees = (found: { num_files: number | null; num_directories: number | null }): boolean =>
    found.num_files === counts.num_files && found.num_directories === counts.num_directories;
  if (agrees(dataset)) return;
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
  const { du_size, size, num_files, num_directories, num_genome_files } = found;
  await ctx.catalog.patch(dataset.id, {
    du_size,
    size,
    num_files,
    num_directories,
    metadata: { num_genome_files },
  });
}

async function recordFiles(ctx: TaskContext, archive: Archive, key: string): Promise<void> {
  const { manifestPath } = await archive.openBundle(key);
  if (manifestPath === null) throw new Error(`the archive kept no manifest of ${key}`);
  const generation = `archive ${ctx.run.task_id}.${ctx.run.attempt}`;
  for await (const rows of manifestFileRows(manifestPath, ctx.config.inspect.file_metadata_batch_size))
    await ctx.catalog.putFiles(ctx.dataset_id, rows, generation);
  await ctx.catalog.sweepFiles(ctx.dataset_id, generation);
}

const sameDigests = (a: Readonly<Digests>, b: Readonly<Digests>): boolean => {
  const common = Object.keys(a).filter((name) => b[name] !== undefined);
  return common.length > 0 && common.every((name) => a[name] === b[name]);
};

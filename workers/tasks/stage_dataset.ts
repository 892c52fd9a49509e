/** Brings a bundle back: read once, proven, kept as staged bundle, unpacked beside its place, then published. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { openArchive } from '../archive/index.ts';
import {
  partialPath,
  publishFile,
  publishTree,
  removeFile,
  removeStale,
  removeTree,
} from '../content/publish.ts';
import { reserveSpace, type Reservation } from '../content/space.ts';
import { unpackBundle } from '../content/unpack.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { aliasOf, stagedBundleOf, stagedPathOf } from '../dataset/paths.ts';
import type { Bundle, Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { defineTask, type TaskContext } from './contract.ts';

/** Others may pass through the stage folder once the dataset is published; they may never list it. */
const FOLDER_MODE = 0o750;

export const task = defineTask({
  description: 'Reads the archived bundle back, proves it, and unpacks it into the stage folder.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const { archive_path, bundle } = recorded(dataset);
    const archive = openArchive(ctx.config);
    await archive.ensureReachable(archive_path);
    const places = await preparePlaces(ctx, dataset);
    const reservations = await reserveBoth(ctx, dataset, bundle, places);
    try {
      const { path, manifestPath } = await archive.openBundle(archive_path);
      const expected = expectedDigests(bundle);
      const meter = ctx.progress('stage', { total: bundle.size, units: 'bytes' });
      const unpacked = await unpackBundle({
        bundle: path,
        target: places.treePartial,
        expect: { size: bundle.size, digests: expected },
        // Without a recorded digest of the bundle each member has to prove itself, whatever that costs.
        ...(Object.keys(expected).length > 0 ? {} : { verify: 'member' }),
        signal: ctx.signal,
        onProgress: ({ bytes }) => {
          meter.set(bytes);
          for (const reservation of reservations) reservation.spent(bytes);
        },
        ...(manifestPath === null ? {} : { manifest: manifestPath }),
        ...(places.bundlePartial === null ? {} : { copy: places.bundlePartial }),
      });
      meter.end();
      await ctx.lease.assert();
      if (places.bundlePartial !== null) publishFile(places.bundlePartial, places.bundle);
      await publishTree(unpacked.root, places.tree);
      const proven = manifestPath !== null || Object.keys(expected).length > 0;
      await ctx.catalog.patch(dataset.id, {
        staged_path: places.tree,
        metadata: { stage_alias: aliasOf(ctx.config, dataset) },
        ...(proven ? { bundle: { ...bundle, verified_at: new Date().toISOString() } } : {}),
      });
    } finally {
      await places.clear();
      for (const reservation of reservations) reservation.release();
    }
    await reachState(ctx.catalog, dataset.id, 'FETCHED', ctx.run.workflow_id);
    return [dataset.id];
  },
});

function recorded(dataset: Dataset): { archive_path: string; bundle: Bundle } {
  if (dataset.archive_path !== null && dataset.bundle) {
    return { archive_path: dataset.archive_path, bundle: dataset.bundle };
  }
  throw new LongshoreError(
    'E_NOT_ARCHIVED',
    `dataset ${dataset.id} (${dataset.name}) has no archived bundle`,
    {
      fields: { dataset_id: dataset.id, archive_path: dataset.archive_path },
      hint: 'Archive it first: start the workflow "integrated" for it.',
    },
  );
}

/** Older records hold only the md5, in its own column. */
const expectedDigests = (bundle: Bundle): Record<string, string> =>
  bundle.md5 === null ? bundle.digests : { ...bundle.digests, md5: bundle.md5 };

interface Places {
  readonly tree: string;
  readonly treePartial: string;
  readonly bundle: string;
  /** null: the staged bundle is not kept. */
  readonly bundlePartial: string | null;
  clear(): Promise<void>;
}

/** Makes the folders, removes what earlier attempts left, and gives the names to work under. */
async function preparePlaces(ctx: TaskContext, dataset: Dataset): Promise<Places> {
  mkdirSync(dirname(dirname(stagedPathOf(ctx.config, dataset))), { recursive: true, mode: FOLDER_MODE });
  const tree = stagedPathOf(ctx.config, dataset); // Only now does the stage folder have a real path.
  const bundle = stagedBundleOf(ctx.config, dataset);
  for (const path of [tree, bundle]) {
    mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE });
    await removeStale(path);
  }
  const treePartial = partialPath(tree, ctx.run.task_id);
  const bundlePartial = ctx.config.stage.keep_bundle ? partialPath(bundle, ctx.run.task_id) : null;
  mkdirSync(treePartial);
  return {
    tree,
    treePartial,
    bundle,
    bundlePartial,
    clear: async () => {
      await removeTree(treePartial);
      if (bundlePartial !== null) removeFile(bundlePartial);
    },
  };
}

/** Both copies, before a byte moves. A file takes whole blocks, hence half a block more for each. */
async function reserveBoth(
  ctx: TaskContext,
  dataset: Dataset,
  bundle: Bundle,
  places: Places,
): Promise<Reservation[]> {
  const { config } = ctx;
  const common = { keep: config.stage.reserve_bytes, state_dir: config.state_dir };
  const members = (dataset.num_files ?? 0) + (dataset.num_directories ?? 0);
  const wanted = [
    { folder: dirname(places.tree), bytes: (dataset.size ?? bundle.size) + members * 2048 },
    ...(places.bundlePartial === null ? [] : [{ folder: dirname(places.bundle), bytes: bundle.size }]),
  ];
  const held: Reservation[] = [];
  try {
    for (const want of wanted) held.push(reserveSpace({ ...common, ...want, holder: ctx.run.task_id }));
    return held;
  } catch (error) {
    for (const reservation of held) reservation.release();
    await places.clear();
    throw error;
  }
}

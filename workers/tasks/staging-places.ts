/** Where a staging writes before it publishes, and the space that it holds there. */
import { dirname } from 'node:path';
import type { Copy } from '../archive/copies.ts';
import { sizeOfFile } from '../content/files.ts';
import { keptHeaders } from '../content/unpack/kept-headers.ts';
import { adoptPartial, partialPath, removeFile, removeStale } from '../content/publish.ts';
import { reserveSpace, type Reservation } from '../content/space.ts';
import { UNPACK_SIDES } from '../content/unpack/kept.ts';
import { treeEstimate } from '../dataset/estimates.ts';
import { fetchedBundleOf, stagedBundleOf, stagedPathOf } from '../dataset/paths.ts';
import type { Bundle, Dataset } from '../dataset/types.ts';
import { clearRest, type TaskContext } from './contract.ts';
import { makeFolders } from '../folders.ts';

/** Others may pass through the stage folder once the dataset is published; they may never list it. */
const FOLDER_MODE = 0o750;

/** A dataset, and the copy of its bundle that it is staged from. */
export interface Staging {
  readonly dataset: Dataset;
  readonly bundle: Bundle;
  readonly copy: Copy;
}

export interface Places {
  readonly tree: string;
  readonly treePartial: string;
  readonly bundle: string;
  /** null: the staged bundle is not kept. */
  readonly bundlePartial: string | null;
  /** Where a bundle is fetched that is not kept. */
  readonly fetched: string;
  /** The archive gives whole files only. */
  readonly fetches: boolean;
  clear(): Promise<void>;
}

/** Makes the folders, removes what earlier attempts left, and gives the names to work under. */
export async function preparePlaces(ctx: TaskContext, { dataset, copy }: Staging): Promise<Places> {
  makeFolders(dirname(dirname(stagedPathOf(ctx.config, dataset))), FOLDER_MODE);
  const tree = stagedPathOf(ctx.config, dataset); // Only now does the stage folder have a real path.
  const bundle = stagedBundleOf(ctx.config, dataset);
  const fetched = fetchedBundleOf(ctx.config, dataset);
  for (const path of [tree, bundle, fetched]) {
    makeFolders(dirname(path), FOLDER_MODE);
    await adoptPartial(path, ctx.run.task_id, UNPACK_SIDES);
  }
  const treePartial = partialPath(tree, ctx.run.task_id);
  const bundlePartial = ctx.config.stage.keep_bundle ? partialPath(bundle, ctx.run.task_id) : null;
  const fetchedPartial = partialPath(fetched, ctx.run.task_id);
  makeFolders(treePartial);
  return {
    tree,
    treePartial,
    bundle,
    bundlePartial,
    fetched: fetchedPartial,
    fetches: copy.archive.local === null && !copy.archive.capabilities.range,
    clear: async () => {
      await removeStale(tree);
      removeFile(fetchedPartial);
      removeFile(partialPath(bundle, ctx.run.task_id));
    },
  };
}

/** Both copies, before a byte moves. */
export async function reserveBoth(
  ctx: TaskContext,
  dataset: Dataset,
  bundle: Bundle,
  places: Places,
): Promise<Reservation[]> {
  const { config } = ctx;
  const common = { keep: config.stage.reserve_bytes, state_dir: config.state_dir };
  // What an earlier attempt has written is on the disk already; of the tree about as much as of the bundle.
  const there =
    places.bundlePartial === null ? keptHeaders(places.treePartial).offset : sizeOfFile(places.bundlePartial);
  const wanted = [
    { folder: dirname(places.tree), bytes: treeEstimate(dataset, bundle.size, there) },
    ...(places.bundlePartial === null
      ? []
      : [{ folder: dirname(places.bundle), bytes: Math.max(0, bundle.size - there) }]),
    ...(places.bundlePartial === null && places.fetches
      ? [{ folder: dirname(places.fetched), bytes: Math.max(0, bundle.size - sizeOfFile(places.fetched)) }]
      : []),
  ];
  const held: Reservation[] = [];
  try {
    for (const want of wanted) held.push(reserveSpace({ ...common, ...want, holder: ctx.run.task_id }));
    return held;
  } catch (error) {
    for (const reservation of held) reservation.release();
    await clearRest(ctx, error, () => places.clear());
    throw error;
  }
}

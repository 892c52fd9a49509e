/** How much room a dataset takes on its way: what the tasks reserve, and plans show. */
import type { Config } from '../../config/index.ts';
import type { Dataset } from './types.ts';

export interface Weight {
  readonly size: number;
  readonly num_files: number;
  readonly num_directories: number;
  /** Of `size`: holes of files, which no bundle stores. */
  readonly hole_bytes: number;
}

/** As the inspection has counted it; sizes that are not known yet are 0. */
export const weightOf = ({ size, du_size, num_files, num_directories, metadata }: Dataset): Weight => ({
  size: Number(size ?? du_size ?? 0),
  num_files: num_files ?? 0,
  num_directories: num_directories ?? 0,
  hole_bytes: metadata.hole_bytes ?? 0,
});

/**
 * A tar header and padding per member on top of the data, and a KiB more where each has a pax header for its time; a long
 * path needs three more blocks.
 */
export function bundleEstimate(weight: Weight, { pax_times }: Config['bundle']): number {
  const { size, num_files, num_directories, hole_bytes } = weight;
  const each = pax_times === 'all' ? 2048 : 1024;
  return Math.max(0, size - hole_bytes) + (num_files + num_directories + 1) * each + 10 * 1024;
}

/**
 * A file takes whole blocks, hence half a block more for each. The bundle holds all data, and neither holes nor a file
 * twice, so the tree takes no more than it does.
 * @param there written already by an attempt that was killed
 */
export function treeEstimate(dataset: Dataset, bundle_size: number, there = 0): number {
  const members = (dataset.num_files ?? 0) + (dataset.num_directories ?? 0);
  return Math.max(0, Math.min(Number(dataset.size ?? bundle_size), bundle_size) - there) + members * 2048;
}

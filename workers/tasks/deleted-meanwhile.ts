/**
 * Datasets that others mark as deleted: the API does so by itself with one that is in no archive yet, keeps its name on it
 * and asks no workflow, while one of ours may be packing it. Its name, and with it its places, are free from then on.
 */
import { deleteBundle } from '../archive/bundles.ts';
import type { Archive } from '../archive/contract.ts';
import { liveDataset } from '../dataset/lifecycle.ts';
import type { Dataset } from '../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import type { TaskContext } from './contract.ts';

export interface Packed {
  readonly dataset: Dataset;
  readonly key: string;
  /** Where this attempt has put a bundle. */
  readonly written: readonly Archive[];
}

/**
 * Of a dataset as it was when the packing began. A first bundle goes again, because nothing would ever name it.
 * @throws E_DATASET_DELETED
 */
export async function refuseDeleted(ctx: TaskContext, { dataset, key, written }: Packed): Promise<void> {
  try {
    await liveDataset(ctx.catalog, dataset.id);
  } catch (error) {
    const deleted = isLongshoreError(error) && error.code === 'E_DATASET_DELETED';
    if (deleted && dataset.archive_path === null) await withdraw(ctx, { dataset, key, written });
    throw error;
  }
}

async function withdraw(ctx: TaskContext, { dataset, key, written }: Packed): Promise<void> {
  const namesake = await namesakeOf(ctx, dataset);
  if (namesake !== null) {
    ctx.log.warn({ key, namesake }, 'deleted while it was packed; its place belongs to another dataset now');
    return;
  }
  await ctx.lease.assert();
  for (const archive of written) await deleteBundle(archive, key, { signal: ctx.signal });
  ctx.log.warn({ key }, 'deleted while it was packed; its bundle was removed');
}

/** @throws E_DATASET_EXISTS what lies in its places may be of another dataset */
export async function assertOwnPlaces(ctx: TaskContext, dataset: Dataset): Promise<void> {
  const taken_by = await namesakeOf(ctx, dataset);
  if (taken_by === null) return;
  const { id: dataset_id, name, type } = dataset;
  throw new LongshoreError(
    'E_DATASET_EXISTS',
    `the places of the deleted dataset ${dataset_id} (${name}) belong to dataset ${taken_by} of the same name`,
    {
      fields: { dataset_id, name, type, taken_by },
      hint: "Nothing was removed. Look with the archive's own tools whose bundle lies there; delete the other dataset if it is to go as well.",
    },
  );
}

async function namesakeOf(ctx: TaskContext, { id, name, type }: Dataset): Promise<number | null> {
  const { datasets } = await ctx.catalog.list({ name, type, match_name_exact: true });
  return datasets.find((one) => one.name === name && one.id !== id)?.id ?? null;
}

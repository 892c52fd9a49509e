/** The copies of a dataset that can be proven. */
import type { Config } from '../../config/index.ts';
import { archiveNamesOf } from '../../workers/archive/index.ts';
import type { BundleCopy, Dataset, StoredCopy } from '../../workers/dataset/types.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';

/** Datasets that are looked at in one run. */
const ADOPTED = 10_000;

/** As recorded; of a dataset from before copies were recorded, the one it has, which is recorded now. @throws E_NOT_ARCHIVED */
export async function recordedCopies(
  { config, store: { catalog } }: { config: Config; store: Store },
  dataset: Dataset,
): Promise<BundleCopy[]> {
  const known = await catalog.copies(dataset.id);
  if (known.length > 0) return known;
  const copy = copyFromBefore(config, dataset);
  if (copy === null)
    throw new LongshoreError(
      'E_NOT_ARCHIVED',
      `dataset ${dataset.id} (${dataset.name}) is not in the archive`,
      {
        fields: { dataset_id: dataset.id },
        hint: `Land it first: longshore start integrated ${dataset.id}.`,
      },
    );
  await catalog.putCopy(dataset.id, copy);
  return catalog.copies(dataset.id);
}

/** Records the copies of all such datasets, so that none is left out of the rotation; gives their number. */
export async function adoptCopies(
  parts: { config: Config; store: Store },
  dry_run: boolean,
): Promise<number> {
  const { catalog } = parts.store;
  const ids = await catalog.withoutCopies(ADOPTED);
  if (dry_run) return ids.length;
  for (const id of ids) await recordedCopies(parts, await catalog.get(id, { bundle: true, states: true }));
  return ids.length;
}

/** In the first archive of its type. Its proofs from then are not in the ledger, so that it is due at once. */
function copyFromBefore(
  config: Config,
  { type, archive_path, bundle, states = [], updated_at }: Dataset,
): StoredCopy | null {
  const [archive] = archiveNamesOf(config, type);
  if (archive === undefined || archive_path === null || !bundle) return null;
  const { size, md5 } = bundle;
  const digests = md5 === null ? bundle.digests : { ...bundle.digests, md5 };
  const stored_at = states.find(({ state }) => state === 'ARCHIVED')?.timestamp ?? updated_at;
  return { archive, key: archive_path, size, digests, stored_at };
}

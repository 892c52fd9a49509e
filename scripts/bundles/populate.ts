/** What the archive itself knows of bundles that the catalog has no record of. */
import type { Copy } from '../../workers/archive/copies.ts';
import { copiesOf } from '../../workers/archive/copies.ts';
import type { ArchivedObject } from '../../workers/archive/contract.ts';
import { createHasher } from '../../workers/content/digest/digest.ts';
import { bundleName } from '../../workers/dataset/paths.ts';
import type { Bundle, Dataset } from '../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import type { Session } from '../cli/session.ts';

export interface BundleRow {
  dataset_id: number;
  name: string;
  archive_path: string | null;
  /** `no hash`: the archive states none. `unavailable`: it could not be asked. */
  outcome: 'processed' | 'would process' | 'no hash' | 'missing' | 'unavailable' | 'failed';
  size: number | null;
  md5: string | null;
  note: string;
}

export interface PopulateOptions {
  readonly dry_run: boolean;
  /** Read bundles whose archive states no digest, and compute it. */
  readonly read: boolean;
  readonly actor: string;
  readonly signal?: AbortSignal | undefined;
}

/** Archived, not deleted, and no bundle recorded; those with the smallest id first. */
export async function withoutBundle({ store, config }: Session): Promise<Dataset[]> {
  const found: Dataset[] = [];
  for (const type of config.dataset_types) {
    const { datasets } = await store.catalog.list({ type, archived: true });
    found.push(...datasets.filter(({ bundle }) => bundle === null || bundle === undefined));
  }
  return found.toSorted((a, b) => a.id - b.id);
}

/** Never throws: the next one may go all the same. */
export async function populate(
  session: Session,
  dataset: Dataset,
  options: PopulateOptions,
): Promise<BundleRow> {
  const { id, name, archive_path } = dataset;
  const row = { dataset_id: id, name, archive_path, size: null, md5: null };
  try {
    return { ...row, ...(await lookAndRecord(session, dataset, options)) };
  } catch (error) {
    const { code, message } = coerceError(error);
    const outcome = code === 'E_ARCHIVE_UNAVAILABLE' ? 'unavailable' : 'failed';
    return { ...row, outcome, note: `${code}: ${message}` };
  }
}

type Found = Pick<BundleRow, 'outcome' | 'note'> & Partial<BundleRow>;

async function lookAndRecord(session: Session, dataset: Dataset, options: PopulateOptions): Promise<Found> {
  const { config, store } = session;
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const [copy] = copiesOf(config, dataset, await store.catalog.copies(dataset.id));
  if (copy === undefined) return { outcome: 'missing', note: 'no archive is known for it' };
  const where = copy.archive.locate(copy.key);
  await copy.archive.ensureReachable(copy.key, call);
  const there = await copy.archive.stat(copy.key, call);
  if (there === null) return { outcome: 'missing', note: `nothing lies at ${where}` };
  const { size } = there;
  const stated = Object.keys(there.digests).length > 0;
  const will = options.read && !options.dry_run;
  const digests = stated ? { ...there.digests } : will ? await readDigests(copy, there, call) : null;
  if (digests === null && !(options.dry_run && options.read))
    return { outcome: 'no hash', size, note: `${copy.archive.name} states no digest; --read computes it` };
  const md5 = digests?.md5 ?? null;
  if (options.dry_run)
    return { outcome: 'would process', size, md5, note: digests === null ? `would read ${where}` : where };
  await record(
    session,
    dataset,
    { name: bundleName(dataset), size, md5, digests: digests ?? {}, verified_at: null },
    options.actor,
  );
  return { outcome: 'processed', size, md5, note: where };
}

/**
 * As the reference does, it counts as not staged: what is on disk was made before there was a bundle to download, and the
 * next stage brings both.
 */
async function record({ store }: Session, dataset: Dataset, bundle: Bundle, actor: string): Promise<void> {
  await store.catalog.patch(dataset.id, { is_staged: false, bundle });
  await store.records.audit({
    actor,
    action: 'dataset.populate_bundle',
    subject: `dataset:${dataset.id}`,
    details: { ...bundle, was_staged: dataset.is_staged },
  });
}

/** Every byte once. @throws E_TRANSFER when it is not as long as the archive says */
async function readDigests(
  { archive, key }: Copy,
  there: ArchivedObject,
  call: { signal?: AbortSignal },
): Promise<Record<string, string>> {
  const hasher = createHasher(['md5']);
  let read = 0;
  for await (const chunk of archive.read(key, call)) {
    hasher.update(chunk);
    read += chunk.length;
  }
  if (read === there.size) return { ...hasher.digests() };
  throw new LongshoreError('E_TRANSFER', `${archive.locate(key)} gave ${read} bytes, it has ${there.size}`, {
    fields: { archive: archive.name, read, size: there.size },
  });
}

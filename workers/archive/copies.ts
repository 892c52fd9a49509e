/** Which archives hold, or ought to hold, the bundle of a dataset, in the order in which they are read. */
import type { Config } from '../../config/index.ts';
import { type BundleCopy, type Dataset, openFinding } from '../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { openManifest, type OpenManifest } from './bundles.ts';
import type { Archive, CallOptions } from './contract.ts';
import { faultyTransfer } from './faulty-transfer.ts';
import { archiveNamesOf, openArchive } from './index.ts';

export interface Copy {
  readonly archive: Archive;
  readonly key: string;
  /** Null: from before copies were recorded. */
  readonly recorded: BundleCopy | null;
}

/** Where a copy lies, its archive not opened. */
export interface CopyPlace extends Pick<Copy, 'key' | 'recorded'> {
  readonly archive: string;
}

/**
 * What is recorded, in the order of the policy; then copies in archives that the policy no longer names, and those that
 * were found damaged or missing at the very end. A dataset from before copies were recorded has one, in the first archive
 * of its type.
 * @param recorded of the catalog: `catalog.copies(dataset.id)`
 */
export function placesOf(config: Config, dataset: Dataset, recorded: readonly BundleCopy[]): CopyPlace[] {
  const names = archiveNamesOf(config, dataset.type);
  const place = (copy: BundleCopy): number => {
    if (openFinding(copy) !== null) return names.length + 1;
    return names.includes(copy.archive) ? names.indexOf(copy.archive) : names.length;
  };
  const known = recorded
    .toSorted((a, b) => place(a) - place(b))
    .map((copy) => ({ archive: copy.archive, key: copy.key, recorded: copy }));
  const [first] = names;
  if (known.length > 0 || dataset.archive_path === null || first === undefined) return known;
  return [{ archive: first, key: dataset.archive_path, recorded: null }];
}

/**
 * The same, each archive opened; without those that are configured no more, as long as others are.
 * @throws E_CONFIG where all copies lie in such archives
 */
export function copiesOf(config: Config, dataset: Dataset, recorded: readonly BundleCopy[]): Copy[] {
  const places = placesOf(config, dataset, recorded);
  const known = places.filter(({ archive }) => Object.hasOwn(config.archive.backends, archive));
  return (known.length > 0 ? known : places).map((place) => ({
    ...place,
    archive: openArchive(config, place.archive),
  }));
}

/** Of this copy alone, as is a faulty transfer of it: the next one may be tried, and the person told. */
const NEXT: ReadonlySet<string> = new Set([
  'E_ARCHIVE_UNAVAILABLE',
  'E_ARCHIVE_DENIED',
  'E_BUNDLE_MISSING',
  'E_BUNDLE_CORRUPT',
  'E_BUNDLE_UNSAFE',
  'E_TOOL_MISSING',
]);

/**
 * Tries the copies one after the other until one serves. What the first ones failed with is told, never lost; when none
 * serves the first failure is thrown, as that of the copy the facility meant to be read.
 */
export async function firstServing<T>(
  copies: readonly Copy[],
  use: (copy: Copy) => Promise<T>,
  onFailure: (copy: Copy, error: LongshoreError) => void | Promise<void>,
): Promise<T> {
  let first: LongshoreError | null = null;
  for (const copy of copies) {
    try {
      return await use(copy);
    } catch (error) {
      const failure =
        isLongshoreError(error) && NEXT.has(error.code)
          ? error
          : faultyTransfer(error, copy.archive, copy.key);
      if (failure === null) throw error;
      await onFailure(copy, failure);
      first ??= failure;
    }
  }
  throw first ?? new LongshoreError('E_NOT_ARCHIVED', 'no archive holds a copy of the bundle');
}

/** The manifest from the first copy that can give one; null when the bundle has none. */
export async function openAnyManifest(
  copies: readonly Copy[],
  options: CallOptions & {
    scratch: string;
    onFailure: (copy: Copy, error: LongshoreError) => void;
  },
): Promise<OpenManifest | null> {
  return firstServing(copies, ({ archive, key }) => openManifest(archive, key, options), options.onFailure);
}

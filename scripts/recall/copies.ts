/** The copies of a dataset's bundle that a person's command may read, the one to be read first in front. */
import type { Config } from '../../config/index.ts';
import { openManifest } from '../../workers/archive/bundles.ts';
import { placesOf } from '../../workers/archive/copies.ts';
import { type Archive, openArchive } from '../../workers/archive/index.ts';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { checkManifest, type ManifestTrailer } from '../../workers/content/manifest.ts';
import { unreadable } from '../../workers/archive/faulty-transfer.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { coerceError, isLongshoreError, LongshoreError } from '../../workers/errors.ts';

export interface Copy {
  readonly archive: string;
  readonly key: string;
  /** As it was recorded; empty where only the dataset's own record tells of the copy. */
  readonly digests: Readonly<Record<string, string>>;
}

/** A copy that is there. */
export interface OpenCopy extends Copy {
  readonly at: Archive;
  /** Of the bundle, as its archive states it. */
  readonly size: number;
}

export interface CopyProblem {
  readonly archive: string;
  readonly key: string;
  readonly error: LongshoreError;
}

export interface CopyParts {
  readonly config: Config;
  readonly catalog: Catalog;
  readonly signal?: AbortSignal | undefined;
  readonly open?: (config: Config, name: string) => Archive;
  /** A copy that cannot be used, and why: to be said and, where it is a finding about the copy, recorded. */
  readonly onProblem: (problem: CopyProblem) => Promise<void>;
}

/** In the order of the policy, then those that the policy does not name any more. @throws E_NOT_ARCHIVED */
export async function copiesOf({ config, catalog }: CopyParts, dataset: Dataset): Promise<Copy[]> {
  const { id, name, is_deleted } = dataset;
  if (is_deleted) throw new LongshoreError('E_DATASET_DELETED', `dataset ${id} (${name}) was deleted`);
  const places = placesOf(config, dataset, await catalog.copies(id));
  if (places.length > 0)
    return places.map(({ archive, key, recorded }) => ({ archive, key, digests: recorded?.digests ?? {} }));
  throw new LongshoreError('E_NOT_ARCHIVED', `dataset ${id} (${name}) is not in the archive`, {
    fields: { dataset_id: id },
    hint: `Land it first: longshore start integrated ${id}.`,
  });
}

/**
 * Those that are reachable and have the bundle.
 * @param only of this archive: no other one is asked
 * @throws why the first one cannot be read, when none can
 */
export async function openCopies(parts: CopyParts, dataset: Dataset, only?: string): Promise<OpenCopy[]> {
  const { config, signal, open = openArchive } = parts;
  const options = signal === undefined ? {} : { signal };
  const copies: OpenCopy[] = [];
  let first: LongshoreError | null = null;
  const known = await copiesOf(parts, dataset);
  const asked = known.filter(({ archive }) => only === undefined || archive === only);
  if (only !== undefined && asked.length === 0) throw notThere(dataset, only, known);
  for (const copy of asked) {
    const { archive, key } = copy;
    try {
      const at = open(config, archive);
      await at.ensureReachable(key, options);
      const found = await at.stat(key, options);
      if (found === null)
        throw new LongshoreError(
          'E_BUNDLE_MISSING',
          `the archive ${archive} holds no bundle ${at.locate(key)}`,
          {
            fields: { archive, path: at.locate(key) },
          },
        );
      copies.push({ ...copy, at, size: found.size });
    } catch (error) {
      signal?.throwIfAborted();
      const coded = coerceError(error);
      first ??= coded;
      await parts.onProblem({ archive, key, error: coded });
    }
  }
  if (copies.length > 0 || first === null) return copies;
  throw first;
}

function notThere({ id, name }: Dataset, archive: string, known: readonly Copy[]): LongshoreError {
  const archives = known.map((copy) => copy.archive);
  return new LongshoreError('E_RECALL', `dataset ${id} (${name}) has no copy in an archive "${archive}"`, {
    fields: { dataset_id: id, archive, archives },
    hint: `It has one in ${archives.join(' and in ')}; without --archive any of them is read.`,
  });
}

export interface DatasetManifest {
  readonly path: string;
  /** Read to its end: the manifest is complete. */
  readonly trailer: ManifestTrailer;
  readonly archive: string;
  readonly key: string;
  readonly close: () => void;
}

/** The first manifest that is complete and belongs to the recorded bundle. @throws E_RECALL when there is none */
export async function openDatasetManifest(
  parts: CopyParts,
  dataset: Dataset,
  copies: readonly OpenCopy[],
): Promise<DatasetManifest> {
  const { config, signal } = parts;
  const scratch = config.paths.scratch;
  for (const { at, archive, key } of copies) {
    try {
      const manifest = await openManifest(at, key, { scratch, ...(signal === undefined ? {} : { signal }) });
      if (manifest === null) continue;
      try {
        const trailer = checkManifest(manifest.path);
        assertOf(dataset, trailer, at.locate(key));
        return { path: manifest.path, trailer, archive, key, close: () => manifest.close() };
      } catch (error) {
        manifest.close();
        throw error;
      }
    } catch (error) {
      signal?.throwIfAborted();
      const failure = isLongshoreError(error) ? error : unreadable(error, at, key);
      if (failure === null) throw error;
      await parts.onProblem({ archive, key, error: failure });
    }
  }
  throw new LongshoreError(
    'E_RECALL',
    `no archive has a usable manifest of dataset ${dataset.id} (${dataset.name})`,
    {
      fields: { dataset_id: dataset.id, archives: copies.map(({ archive }) => archive) },
      hint: `Bundles from before Longshore have none; bring all of it back: longshore stage ${dataset.id}.`,
    },
  );
}

function assertOf({ bundle }: Dataset, trailer: ManifestTrailer, path: string): void {
  if (!bundle || agree(bundle.digests, trailer.bundle.digests)) return;
  throw new LongshoreError('E_BUNDLE_CORRUPT', `the manifest of ${path} belongs to another bundle`, {
    fields: { path, expected: bundle.digests, actual: trailer.bundle.digests },
  });
}

/** Where both name a digest. */
export const agree = (a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean =>
  Object.entries(a).every(([name, digest]) => b[name] === undefined || b[name] === digest);

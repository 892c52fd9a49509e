/** What the planners of the steps ask: the dataset, its copies, the archives. Asked once, changes nothing. */
import type { Config } from '../../config/index.ts';
import type { Archive, ArchivedObject } from '../../workers/archive/contract.ts';
import { type Copy, copiesOf } from '../../workers/archive/copies.ts';
import { inspectTree } from '../../workers/content/inspect.ts';
import { type Weight, weightOf } from '../../workers/dataset/estimates.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';

/** A plan is asked for by a person who waits; tape that is being mounted is not waited for. */
const ARCHIVE_SECONDS = 60;

/** What an archive says about a key; an error where nothing can be said. */
export type Answer = { readonly found: ArchivedObject | null } | { readonly error: LongshoreError };

export interface Ground {
  readonly config: Config;
  readonly store: Store;
  readonly dataset: Dataset;
  readonly copies: readonly Copy[];
  readonly force: boolean;
  /** The steps that are planned before this one will have brought it. */
  readonly coming: { bundle: number | null; staged: boolean };
  ask(archive: Archive, key: string): Promise<Answer>;
  /** Of the origin as it is now where the catalog does not know yet; null when it is not there. */
  counts(): Promise<Weight | null>;
  /** Tells whoever waits what takes long. */
  readonly onWait: (what: string) => void;
}

export interface GroundOptions {
  readonly config: Config;
  readonly store: Store;
  readonly dataset: Dataset;
  readonly force: boolean;
  readonly onWait?: ((what: string) => void) | undefined;
}

export async function groundFor({
  config,
  store,
  dataset,
  force,
  onWait = () => undefined,
}: GroundOptions): Promise<Ground> {
  const recorded = await store.catalog.copies(dataset.id);
  const answers = new Map<string, Promise<Answer>>();
  let counted: Promise<Weight | null> | null = null;
  return {
    config,
    store,
    dataset,
    copies: dataset.archive_path === null ? [] : copiesOf(config, dataset, recorded),
    force,
    onWait,
    coming: { bundle: null, staged: false },
    ask: (archive, key) => {
      const id = `${archive.name} ${key}`;
      const known = answers.get(id);
      if (known !== undefined) return known;
      onWait(`asking the archive ${archive.name}`);
      const asked = askArchive(archive, key);
      answers.set(id, asked);
      return asked;
    },
    counts: () => {
      counted ??= countsOf(config, dataset, onWait);
      return counted;
    },
  };
}

async function askArchive(archive: Archive, key: string): Promise<Answer> {
  const signal = AbortSignal.timeout(ARCHIVE_SECONDS * 1000);
  try {
    // As the tasks ask: a bundle that can be seen below a missing mark is of another archive.
    await archive.ensureReachable(key, { signal });
    return { found: await archive.stat(key, { signal }) };
  } catch (error) {
    // The first put marks a new one: until then it says nothing, and holds nothing.
    if (archive.local !== null && (await archive.local.isNew(key))) return { found: null };
    if (!signal.aborted) return { error: coerceError(error) };
    const late = `the archive ${archive.name} did not answer within ${ARCHIVE_SECONDS} s`;
    return { error: new LongshoreError('E_ARCHIVE_UNAVAILABLE', late, { cause: error }) };
  }
}

async function countsOf(
  { genome_file_types }: Config,
  dataset: Dataset,
  onWait: (what: string) => void,
): Promise<Weight | null> {
  const { size, num_files, origin_path } = dataset;
  if (size !== null && num_files !== null) return weightOf(dataset);
  onWait(`counting ${origin_path}`);
  try {
    const counts = await inspectTree({ root: origin_path, genome_file_types });
    return { ...counts, size: Number(counts.size) };
  } catch (error) {
    const { code } = coerceError(error);
    if (code === 'E_ORIGIN_MISSING' || code === 'E_INSPECTION') return null;
    throw error;
  }
}

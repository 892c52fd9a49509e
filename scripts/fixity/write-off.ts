/**
 * Takes the record of a copy out of the catalog, for an archive that is gone for good. In no archive anything is changed.
 * A record that stays would be waited for, looked at each night, and keep its dataset from being deleted.
 */
import { openArchive } from '../../workers/archive/index.ts';
import { NOT_ARCHIVED } from '../../workers/dataset/lifecycle.ts';
import { type BundleCopy, type Dataset, openFinding } from '../../workers/dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../../workers/errors.ts';
import type { Session } from '../cli/session.ts';

export interface WrittenOff {
  readonly dataset_id: number;
  readonly name: string;
  readonly archive: string;
  readonly key: string;
  readonly size: number;
  /** The archive of the copy that was looked at; null: none is left, and the dataset counts as not archived. */
  readonly kept: string | null;
}

export interface WriteOffOptions {
  readonly archive: string;
  readonly actor: string;
  readonly dry_run: boolean;
  /** Also where no other copy is proven. */
  readonly force: boolean;
}

/** @throws E_USAGE where there is no such copy, or it is not lost; E_NOT_ARCHIVED where no other one is proven */
export async function writeOff(
  session: Session,
  dataset: Dataset,
  { archive, actor, dry_run, force }: WriteOffOptions,
): Promise<WrittenOff> {
  const { catalog, records } = session.store;
  const copies = await catalog.copies(dataset.id);
  const copy = copies.find((one) => one.archive === archive);
  if (copy === undefined) throw noCopy(dataset, archive, copies);
  if (await isThere(session, copy)) throw notLost(dataset, copy);
  const others = copies.filter((one) => one !== copy);
  const kept = await firstSound(session, others);
  if (kept === null && !force) throw onlyOne(dataset, archive, others);
  const { key, size } = copy;
  const written = { dataset_id: dataset.id, name: dataset.name, archive, key, size, kept };
  if (dry_run) return written;
  // Told first, as everything that a person does to a dataset.
  await records.audit({
    actor,
    action: 'copy.write_off',
    subject: `dataset:${dataset.id}`,
    details: { archive, key, size, digests: copy.digests, kept },
  });
  // The last one of all: with its path the scrub would take the dataset for one from before copies were recorded.
  if (others.length === 0) {
    // What was proven once is gone: nobody may read that it lies somewhere, proven.
    const { bundle } = await catalog.get(dataset.id, { bundle: true });
    const unproven = bundle == null ? {} : { bundle: { ...bundle, verified_at: null } };
    await catalog.patch(dataset.id, { ...NOT_ARCHIVED, ...unproven });
  }
  await catalog.removeCopy(dataset.id, archive);
  return written;
}

/** Proven, nothing found against it since, and there at this moment. */
async function firstSound(session: Session, copies: readonly BundleCopy[]): Promise<string | null> {
  for (const copy of copies) {
    if (copy.verified_at === null || openFinding(copy) !== null) continue;
    if (await isThere(session, copy)) return copy.archive;
  }
  return null;
}

/** With its size. False where its archive is away, refuses, or is configured no more. */
async function isThere({ config }: Session, { archive, key, size }: BundleCopy): Promise<boolean> {
  if (!Object.hasOwn(config.archive.backends, archive)) return false;
  try {
    return (await openArchive(config, archive).stat(key))?.size === size;
  } catch (error) {
    if (isLongshoreError(error)) return false;
    throw error;
  }
}

const named = ({ id, name }: Dataset): string => `dataset ${id} (${name})`;

function noCopy(dataset: Dataset, archive: string, copies: readonly BundleCopy[]): LongshoreError {
  const known = copies.map((copy) => copy.archive).join(', ') || 'none';
  return new LongshoreError(
    'E_USAGE',
    `${named(dataset)} has no recorded copy in "${archive}"; it has: ${known}`,
  );
}

const notLost = (dataset: Dataset, { archive, key }: BundleCopy): LongshoreError =>
  new LongshoreError(
    'E_USAGE',
    `the copy of ${named(dataset)} in "${archive}" is not lost: ${key} is there`,
    {
      hint: 'Only copies that cannot be read are written off. To give up an archive that is there, take it out of archive.backends before.',
    },
  );

function onlyOne(dataset: Dataset, archive: string, others: readonly BundleCopy[]): LongshoreError {
  const rest = others.map((copy) => copy.archive).join(', ');
  const why = others.length === 0 ? 'there is no other' : `none in ${rest} is proven and there`;
  return new LongshoreError(
    'E_NOT_ARCHIVED',
    `the copy of ${named(dataset)} in "${archive}" may be its last: ${why}`,
    {
      fields: { dataset_id: dataset.id },
      hint: '`longshore verify <dataset>` proves another copy; `longshore archive <dataset>` makes one while the origin is there. --force writes off the last one too.',
    },
  );
}

/** Whether an archive holds the bundle of a dataset, so that what was made from it may go. */
import type { Config } from '../../config/index.ts';
import { type Dataset, openFinding, type Proof } from '../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import type { CallOptions } from './contract.ts';
import type { Copy } from './copies.ts';
import { archiveNamesOf } from './index.ts';

/**
 * The first copy that its archive has with the recorded size, that was proven at least once since it was stored, and of
 * which nothing else was found since. One is enough: whatever is staged again needs one.
 * @throws E_ARCHIVE_UNAVAILABLE when an archive that may have it cannot be asked, else E_NOT_ARCHIVED, E_FIXITY,
 * E_BUNDLE_MISSING or E_BUNDLE_CORRUPT of the first copy
 */
export async function heldCopy(
  dataset: Dataset,
  copies: readonly Copy[],
  options: CallOptions = {},
): Promise<Copy> {
  const reasons: LongshoreError[] = [];
  for (const copy of copies) {
    const reason = await whyNotHeld(dataset, copy, options);
    if (reason === null) return copy;
    reasons.push(reason);
  }
  throw (
    reasons.find(({ code }) => code === 'E_ARCHIVE_UNAVAILABLE') ??
    reasons[0] ??
    notArchived(dataset, 'no archive holds a bundle of it')
  );
}

/**
 * Why the origin of a dataset may not go: what is amiss in each archive of the policy, since it is the last place that all of
 * them can be made from. Empty: every one holds its copy.
 */
export async function whyNotHeldByAll(
  config: Config,
  dataset: Dataset,
  copies: readonly Copy[],
): Promise<LongshoreError[]> {
  const reasons: LongshoreError[] = [];
  for (const name of archiveNamesOf(config, dataset.type)) {
    const copy = copies.find(({ archive }) => archive.name === name);
    const reason =
      copy === undefined
        ? notArchived(dataset, `there is no copy in the archive ${name}`)
        : await whyNotHeld(dataset, copy);
    if (reason !== null) reasons.push(reason);
  }
  return reasons;
}

/** Null: it is there, whole, proven, and nothing speaks against it. */
export async function whyNotHeld(
  dataset: Dataset,
  { archive, key, recorded }: Copy,
  options: CallOptions = {},
): Promise<LongshoreError | null> {
  const size = recorded?.size ?? dataset.bundle?.size;
  const verified_at = recorded === null ? dataset.bundle?.verified_at : recorded.verified_at;
  const where = archive.locate(key);
  const fields = { dataset_id: dataset.id, archive: archive.name, path: where };
  if (size === undefined) return notArchived(dataset, `no size of ${where} is recorded`);
  const finding = recorded === null ? null : openFinding(recorded);
  if (finding !== null) return damaged(where, finding);
  if (verified_at == null) return notArchived(dataset, `${where} was never read back and proven`);
  try {
    const there = await archive.stat(key, options);
    if (there === null)
      return new LongshoreError('E_BUNDLE_MISSING', `the archive holds no bundle at ${where}`, { fields });
    if (there.size === size) return null;
    return new LongshoreError('E_BUNDLE_CORRUPT', `${where} has ${there.size} bytes, ${size} are recorded`, {
      fields: { ...fields, size: there.size, expected: size },
    });
  } catch (error) {
    if (isLongshoreError(error)) return error;
    throw error;
  }
}

/** What was found about a copy that was proven before: it decides until the bytes are proven again. */
export function damaged(where: string, { dataset_id, archive, at, result, actor }: Proof): LongshoreError {
  const what = result === 'missing' ? 'missing' : 'not what was archived';
  return new LongshoreError('E_FIXITY', `${where} was found ${what} at ${at} (by ${actor})`, {
    fields: { dataset_id, archive, path: where, result, at },
  });
}

const notArchived = ({ id, name }: Dataset, why: string): LongshoreError =>
  new LongshoreError('E_NOT_ARCHIVED', `dataset ${id} (${name}) has no verified archived copy: ${why}`, {
    fields: { dataset_id: id },
  });

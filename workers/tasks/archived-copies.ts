/** What an archiving does about the copies that there are already: which serve, which are written, what is recorded. */
import type { Archive } from '../archive/contract.ts';
import type { Digests } from '../content/digest/digest.ts';
import { type BundleCopy, type Dataset, openFinding } from '../dataset/types.ts';
import { type BundleFacts, prove, recordCopy, unproven } from './bundle-copies.ts';
import { type Archived, fill } from './bundle-packing.ts';
import type { TaskContext } from './contract.ts';

/**
 * Nothing is packed again: the rest of a dead attempt goes, and archives that lack the bundle get it from the first one
 * whose bytes prove good. Null: there is none, and it has to be packed.
 */
export async function complete(
  ctx: TaskContext,
  parts: {
    archives: readonly Archive[];
    holders: readonly Archive[];
    key: string;
    archived: Archived | null;
  },
): Promise<{ archived: Archived; written: readonly Archive[] } | null> {
  const { archives, holders, key, archived } = parts;
  if (archived === null) return null;
  for (const { local } of holders) await (await local?.beginPut(key, { task_id: ctx.run.task_id }))?.abort();
  const lacking = archives.filter((archive) => !holders.includes(archive));
  if (lacking.length === 0) return { archived, written: [] };
  for (const holder of holders) {
    if (await holds(ctx, holder, key, archived.bundle)) {
      await fill(ctx, { archives: lacking, from: holder, key, archived });
      return { archived, written: lacking };
    }
    lacking.push(holder);
  }
  return null;
}

/** Reads it once more, with a line in the ledger: what is copied from it would be as good as it is. */
async function holds(ctx: TaskContext, archive: Archive, key: string, bundle: BundleFacts): Promise<boolean> {
  const proof = await prove(ctx, archive, { key, ...bundle }, 'digest');
  await ctx.catalog.addProof(proof);
  if (proof.result === 'ok') return true;
  // That it could not be read says nothing about its bytes.
  if (proof.result === 'unavailable') throw unproven(archive, proof);
  ctx.log.error({ code: 'E_FIXITY', ...proof }, 'no other copy is made from this one');
  return false;
}

/**
 * Never in silence: what was found, before or by this very run, stands in the history with what was done about it. To be
 * called before the new copies are proven, which closes the findings.
 */
export async function tellReplaced(
  ctx: TaskContext,
  key: string,
  written: readonly Archive[],
): Promise<void> {
  if (written.length === 0) return;
  for (const copy of await ctx.catalog.copies(ctx.dataset_id)) {
    const finding = openFinding(copy);
    const { archive } = copy;
    if (finding === null || copy.key !== key || !written.some(({ name }) => name === archive)) continue;
    ctx.log.warn({ archive, key, finding }, 'a copy that was found damaged or missing was written anew');
    await ctx.audit('archive.replaced', { archive, key, found: finding.result, found_at: finding.at });
  }
}

/**
 * With more than one, each is proven before the dataset counts as archived; a single one when it is staged, or now when it
 * takes the place of one that was found damaged.
 */
export async function recordCopies(
  ctx: TaskContext,
  parts: {
    archives: readonly Archive[];
    key: string;
    known: readonly BundleCopy[];
    bundle: BundleFacts;
    written: readonly Archive[];
  },
): Promise<void> {
  const { archives, key, known, bundle, written } = parts;
  for (const archive of archives) {
    const copy = known.find((one) => one.archive === archive.name && one.key === key);
    const same = copy?.size === bundle.size && sameDigests(copy.digests, bundle.digests);
    const readBack = archives.length > 1 || (copy !== undefined && openFinding(copy) !== null);
    if (!written.includes(archive) && same && (copy.verified_at !== null || !readBack)) continue;
    await recordCopy(ctx, archive, { key, bundle, readBack });
  }
}

/** Of what this run has not written; or of a copy that was proven in it. */
export async function provenAt(
  ctx: TaskContext,
  { bundle: before }: Dataset,
  bundle: BundleFacts,
  written: readonly Archive[],
): Promise<string | null> {
  if (before?.size !== bundle.size || !sameDigests(before.digests, bundle.digests)) return null;
  if (written.length === 0) return before.verified_at;
  const copies = await ctx.catalog.copies(ctx.dataset_id);
  const proven = copies.filter((copy) => openFinding(copy) === null).map(({ verified_at }) => verified_at);
  return (
    proven
      .filter((at) => at !== null)
      .toSorted()
      .at(-1) ?? null
  );
}

export const sameDigests = (a: Readonly<Digests>, b: Readonly<Digests>): boolean => {
  const common = Object.keys(a).filter((name) => b[name] !== undefined);
  return common.length > 0 && common.every((name) => a[name] === b[name]);
};

/** Brings one packed bundle into archives, and proves what arrived, as the archiving task needs it. */
import { openManifest } from '../archive/bundles.ts';
import { type Archive, manifestKey } from '../archive/contract.ts';
import { fetchPlace } from '../archive/index.ts';
import { proveCopy, type ProveCopyOptions } from '../archive/proof.ts';
import { fetchShared } from '../archive/shared-fetch.ts';
import { digestMismatch, type Digests } from '../content/digest/digest.ts';
import type { Proof, ProofLevel } from '../dataset/types.ts';
import { type ErrorCode, LongshoreError } from '../errors.ts';
import type { TaskContext } from './contract.ts';

export interface BundleFacts {
  readonly size: number;
  readonly digests: Digests;
}

/** A bundle with its manifest as files of this host. */
export interface LocalBundle extends BundleFacts {
  readonly path: string;
  readonly manifestPath: string;
}

/** In the order of a local put (LocalPut.commit): the manifest first, or last where the bundle takes the place of another. */
export async function putCopy(
  ctx: TaskContext,
  archive: Archive,
  key: string,
  bundle: LocalBundle,
): Promise<void> {
  const replaces = (await archive.stat(key, { signal: ctx.signal })) !== null;
  if (!replaces) await putManifest(ctx, archive, key, bundle);
  await putBundle(ctx, archive, key, bundle);
  if (replaces) await putManifest(ctx, archive, key, bundle);
}

async function putManifest(
  ctx: TaskContext,
  archive: Archive,
  key: string,
  { manifestPath }: LocalBundle,
): Promise<void> {
  await ctx.lease.assert();
  const { signal } = ctx;
  await archive.put(manifestKey(key), { file: manifestPath }, { task_id: ctx.run.task_id, signal });
}

async function putBundle(
  ctx: TaskContext,
  archive: Archive,
  key: string,
  bundle: LocalBundle,
): Promise<void> {
  const { signal } = ctx;
  const { task_id } = ctx.run;
  await ctx.lease.assert();
  const meter = ctx.progress(`put to ${archive.name}`, { total: bundle.size, units: 'bytes' });
  const stored = await archive.put(
    key,
    { file: bundle.path, digests: bundle.digests },
    { task_id, signal, onProgress: (bytes) => meter.set(bytes) },
  );
  meter.end();
  assertStored(archive, key, bundle, stored);
}

export function assertStored(archive: Archive, key: string, sent: BundleFacts, stored: BundleFacts): void {
  const common = Object.entries(sent.digests).filter(([name]) => stored.digests[name] !== undefined);
  const wrong = digestMismatch(Object.fromEntries(common), stored.digests);
  if (stored.size === sent.size && wrong === null) return;
  throw new LongshoreError(
    'E_TRANSFER',
    wrong === null
      ? `${archive.locate(key)} has ${stored.size} bytes, ${sent.size} were sent`
      : `${archive.locate(key)} has ${wrong.digest} ${wrong.actual}, expected ${wrong.expected}`,
    { fields: { archive: archive.name, path: archive.locate(key), sent, stored } },
  );
}

/**
 * Records a copy that has arrived. Where the archive states a digest that is the bundle's, this proves it; else, if
 * `readBack`, it is read once more. A copy that is staged next is read back then.
 * @throws E_TRANSFER
 */
export async function recordCopy(
  ctx: TaskContext,
  archive: Archive,
  { key, bundle, readBack }: { key: string; bundle: BundleFacts; readBack: boolean },
): Promise<void> {
  const { dataset_id, catalog } = ctx;
  const copy = { key, size: bundle.size, digests: bundle.digests };
  await catalog.putCopy(dataset_id, {
    archive: archive.name,
    ...copy,
    stored_at: new Date().toISOString(),
  });
  const level = readBack || archive.capabilities.digest !== null ? 'digest' : 'size';
  const proof = await prove(ctx, archive, copy, level);
  if (proof.result !== 'ok') throw unproven(archive, proof);
  if (proof.level !== 'size') await catalog.addProof(proof);
}

/** Looks at a copy on behalf of the archiving, and tells how far it is. Leaves the ledger to the caller. */
export async function prove(
  ctx: TaskContext,
  archive: Archive,
  copy: ProveCopyOptions['copy'],
  level: ProofLevel,
): Promise<Proof> {
  const meter = ctx.progress(`verify in ${archive.name}`, { total: copy.size, units: 'bytes' });
  const proof = await proveCopy({
    dataset_id: ctx.dataset_id,
    archive,
    copy,
    level,
    actor: 'archive',
    scratch: ctx.config.paths.scratch,
    signal: ctx.signal,
    onProgress: (bytes) => meter.set(bytes),
  });
  meter.end();
  return proof;
}

/** An archive that cannot be asked is said with its own code; what it has otherwise than sent is a failed transfer. */
export function unproven(archive: Archive, { key, result, details }: Proof): LongshoreError {
  const where = archive.locate(key);
  const code = result === 'unavailable' ? (details.code as ErrorCode) : 'E_TRANSFER';
  const why = result === 'unavailable' ? String(details.reason) : `it is ${result}`;
  return new LongshoreError(code, `${where} could not be proven: ${why}`, {
    fields: { archive: archive.name, path: where, ...details },
  });
}

export const proofOf = (
  ctx: Pick<TaskContext, 'dataset_id'>,
  archive: string,
  key: string,
  found: { level: ProofLevel; bytes: number; seconds: number; actor: string } & Partial<
    Pick<Proof, 'result' | 'details'>
  >,
): Proof => ({
  dataset_id: ctx.dataset_id,
  archive,
  key,
  at: new Date().toISOString(),
  result: 'ok',
  details: {},
  ...found,
});

/** A bundle that one archive holds, as local files for others to be filled from; `close` removes what was fetched. */
export async function fetchBundle(
  ctx: TaskContext,
  { archive, key, facts, folder }: { archive: Archive; key: string; facts: BundleFacts; folder: string },
): Promise<LocalBundle & { close(): Promise<void> }> {
  const { signal } = ctx;
  const manifest = await openManifest(archive, key, { scratch: folder, signal });
  if (manifest === null) throw new Error(`the archive kept no manifest of ${key}`);
  if (archive.local !== null) {
    const path = archive.local.path(key);
    return { path, manifestPath: manifest.path, ...facts, close: async () => undefined };
  }
  try {
    const meter = ctx.progress(`fetch from ${archive.name}`, { total: facts.size, units: 'bytes' });
    const fetched = await fetchShared({
      archive,
      key,
      size: facts.size,
      ...fetchPlace(ctx.config),
      signal,
      onProgress: (bytes) => meter.set(bytes),
    });
    meter.end();
    const close = async (): Promise<void> => {
      await fetched.close();
      manifest.close();
    };
    return { path: fetched.path, manifestPath: manifest.path, ...facts, close };
  } catch (error) {
    manifest.close();
    throw error;
  }
}

/** Brings one packed bundle into archives, and proves what arrived, as the archiving task needs it. */
import { openManifest } from '../archive/bundles.ts';
import { type Archive, manifestKey } from '../archive/contract.ts';
import { createHasher, digestMismatch, type Digests } from '../content/digest.ts';
import { removeFile } from '../content/publish.ts';
import type { Proof, ProofLevel } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import type { DigestName } from '../../config/index.ts';
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

/** The manifest first: who sees the bundle finds its manifest. */
export async function putCopy(
  ctx: TaskContext,
  archive: Archive,
  key: string,
  bundle: LocalBundle,
): Promise<void> {
  const { signal } = ctx;
  const { task_id } = ctx.run;
  await archive.put(manifestKey(key), { file: bundle.manifestPath }, { task_id, signal });
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
 */
export async function recordCopy(
  ctx: TaskContext,
  archive: Archive,
  { key, bundle, readBack }: { key: string; bundle: BundleFacts; readBack: boolean },
): Promise<void> {
  const { dataset_id, catalog } = ctx;
  const started = performance.now();
  await catalog.putCopy(dataset_id, {
    archive: archive.name,
    key,
    size: bundle.size,
    digests: bundle.digests,
    stored_at: new Date().toISOString(),
  });
  const stated = await archive.stat(key, { signal: ctx.signal });
  if (stated === null)
    throw new LongshoreError('E_TRANSFER', `${archive.locate(key)} is not there after it was put`, {
      fields: { archive: archive.name, path: archive.locate(key) },
    });
  assertStored(archive, key, bundle, stated);
  const byDigest = Object.keys(stated.digests).some((name) => bundle.digests[name] !== undefined);
  if (!byDigest && !readBack) return;
  if (!byDigest) await proveByReading(ctx, archive, key, bundle);
  await catalog.addProof(
    proofOf(ctx, archive.name, key, {
      level: byDigest ? 'digest' : 'stream',
      bytes: byDigest ? 0 : bundle.size,
      seconds: (performance.now() - started) / 1000,
      actor: 'archive',
    }),
  );
}

/** @throws E_TRANSFER */
async function proveByReading(
  ctx: TaskContext,
  archive: Archive,
  key: string,
  bundle: BundleFacts,
): Promise<void> {
  const meter = ctx.progress(`verify in ${archive.name}`, { total: bundle.size, units: 'bytes' });
  const hasher = createHasher(Object.keys(bundle.digests) as DigestName[]);
  let size = 0;
  for await (const bytes of archive.read(key, { signal: ctx.signal })) {
    hasher.update(bytes);
    size += bytes.length;
    meter.set(size);
  }
  meter.end();
  assertStored(archive, key, bundle, { size, digests: hasher.digests() });
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
): Promise<LocalBundle & { close(): void }> {
  const { signal } = ctx;
  const manifest = await openManifest(archive, key, { scratch: folder, signal });
  if (manifest === null) throw new Error(`the archive kept no manifest of ${key}`);
  if (archive.local !== null) {
    const path = archive.local.path(key);
    return { path, manifestPath: manifest.path, ...facts, close: () => undefined };
  }
  const path = `${folder}/.fetched-${ctx.run.task_id}.tar`;
  const close = (): void => {
    removeFile(path);
    manifest.close();
  };
  try {
    const meter = ctx.progress(`fetch from ${archive.name}`, { total: facts.size, units: 'bytes' });
    await archive.get(key, path, { signal, onProgress: (bytes) => meter.set(bytes) });
    meter.end();
    return { path, manifestPath: manifest.path, ...facts, close };
  } catch (error) {
    close();
    throw error;
  }
}

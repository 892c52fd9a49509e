/** Looks at one archive's copy of a bundle and gives the line for the fixity ledger. Changes nothing in the archive. */
import type { Difference } from '../content/compare/differences.ts';
import { dropCached } from '../content/page-cache.ts';
import { digestMismatch } from '../content/digest/digest.ts';
import type { Pace } from '../content/prove/pace.ts';
import { type BundleProof, proveBundle } from '../content/prove/prove.ts';
import type { BundleCopy, Proof, ProofLevel } from '../dataset/types.ts';
import { coerceError, LongshoreError } from '../errors.ts';
import { openManifest } from './bundles.ts';
import type { Archive, ArchivedObject } from './contract.ts';
import { faultyTransfer } from './faulty-transfer.ts';

export interface ProveCopyOptions {
  readonly dataset_id: number;
  readonly archive: Archive;
  /** As the catalog has it. */
  readonly copy: Pick<BundleCopy, 'key' | 'size' | 'digests'>;
  /** `digest` becomes `stream` where the archive states no digest that is recorded. */
  readonly level: ProofLevel;
  readonly actor: string;
  /** For the manifest of an archive elsewhere. */
  readonly scratch: string;
  readonly pace?: Pace | null;
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytes: number) => void;
}

type Found = Pick<Proof, 'level' | 'result' | 'details'> & { readonly bytes: number };

/** Differences that one line of the ledger keeps. */
const MAX_KEPT = 100;
/**
 * A transfer that went wrong once was the network's fault more often than the archive's; twice, it is a finding. So is a
 * file that its disk does not give while the archive is there: nobody else would tell of it.
 */
const TRANSFERS = 2;

/**
 * An archive that is away, refuses or breaks off gives `unavailable`, which says nothing about the copy.
 * @throws when it was stopped, or by a fault of ours
 */
export async function proveCopy(options: ProveCopyOptions): Promise<Proof> {
  const { dataset_id, archive, copy, level, actor, signal } = options;
  const started = performance.now();
  const read = { bytes: 0 };
  const path = archive.locate(copy.key);
  const found = await look(options, read).catch((error: unknown): Found => {
    signal?.throwIfAborted();
    const { code, message } = coerceError(error);
    if (code === 'E_TASK_CRASHED') throw error;
    return { level, result: 'unavailable', bytes: read.bytes, details: { code, reason: message } };
  });
  return {
    dataset_id,
    archive: archive.name,
    key: copy.key,
    at: new Date().toISOString(),
    seconds: Math.round(performance.now() - started) / 1000,
    actor,
    ...found,
    details: { path, ...found.details },
  };
}

async function look(options: ProveCopyOptions, read: { bytes: number }): Promise<Found> {
  const { archive, copy, level, signal } = options;
  const there = await archive.stat(copy.key, signal === undefined ? {} : { signal });
  if (there === null) return missing(level);
  if (level === 'size') return judged(level, [], there, copy);
  if (level === 'digest' && statesDigest(there, copy)) {
    const wrong = digestMismatch(commonDigests(there, copy), there.digests);
    const differences =
      wrong === null
        ? []
        : [{ member: null, what: wrong.digest, expected: wrong.expected, actual: String(wrong.actual) }];
    return judged(level, differences, there, copy);
  }
  for (let transfer = 1; ; transfer++) {
    try {
      return await stream(options, there, read);
    } catch (error) {
      signal?.throwIfAborted();
      if (coerceError(error).code === 'E_BUNDLE_MISSING') return await vanished(options);
      const faulty = faultyTransfer(error, archive, copy.key);
      if (faulty === null) throw error;
      const { code, message } = faulty;
      // A disk that refuses one file may be one that refuses all.
      if (code !== 'E_TRANSFER')
        await archive.ensureReachable(copy.key, signal === undefined ? {} : { signal });
      if (transfer < TRANSFERS) continue;
      return { level: 'stream', result: 'mismatch', bytes: read.bytes, details: { code, reason: message } };
    }
  }
}

const missing = (level: ProofLevel): Found => ({
  level,
  result: 'missing',
  bytes: 0,
  details: { code: 'E_BUNDLE_MISSING' },
});

/** It was there a moment ago: an archive that went away while it was read looks the same. */
async function vanished({ archive, copy, signal }: ProveCopyOptions): Promise<Found> {
  const there = await archive.stat(copy.key, signal === undefined ? {} : { signal });
  if (there === null) return missing('stream');
  throw new LongshoreError('E_IO', `${archive.locate(copy.key)} was not there for a moment`);
}

const commonDigests = (there: ArchivedObject, { digests }: Pick<BundleCopy, 'digests'>) =>
  Object.fromEntries(Object.entries(digests).filter(([name]) => there.digests[name] !== undefined));

const statesDigest = (there: ArchivedObject, copy: Pick<BundleCopy, 'digests'>): boolean =>
  Object.keys(commonDigests(there, copy)).length > 0;

function judged(
  level: ProofLevel,
  differences: readonly Difference[],
  there: ArchivedObject,
  copy: Pick<BundleCopy, 'size'>,
): Found {
  const size = { member: null, what: 'size', expected: String(copy.size), actual: String(there.size) };
  const all = there.size === copy.size ? differences : [size, ...differences];
  if (all.length === 0) return { level, result: 'ok', bytes: 0, details: {} };
  return { level, result: 'mismatch', bytes: 0, details: { num_differences: all.length, differences: all } };
}

async function stream(
  options: ProveCopyOptions,
  there: ArchivedObject,
  read: { bytes: number },
): Promise<Found> {
  const { archive, copy, scratch, pace = null, signal } = options;
  const call = signal === undefined ? {} : { signal };
  const manifest = await openManifest(archive, copy.key, { scratch, ...call });
  if (archive.local !== null) await dropCached(archive.local.path(copy.key));
  const bundle =
    archive.local === null
      ? {
          name: archive.locate(copy.key),
          size: there.size,
          open: (offset: number) => counted(archive.read(copy.key, { offset, ...call }), read),
        }
      : archive.local.path(copy.key);
  try {
    const proof = await proveBundle({
      bundle,
      manifest: manifest?.path ?? null,
      expect: { size: copy.size, digests: copy.digests },
      pace,
      ...call,
      onProgress: ({ bytes }) => {
        if (archive.local !== null) read.bytes = bytes;
        options.onProgress?.(bytes);
      },
    });
    return streamed(proof, manifest !== null);
  } finally {
    manifest?.close();
  }
}

/** What came over the network, however far the proof got with it. */
async function* counted(source: AsyncIterable<Buffer>, read: { bytes: number }): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    read.bytes += chunk.length;
    yield chunk;
  }
}

function streamed(proof: BundleProof, with_manifest: boolean): Found {
  const { ok, bytes, members, digested, num_differences } = proof;
  const details = { manifest: with_manifest, members };
  // Without any digest the bytes were compared with nothing.
  if (ok)
    return { level: digested ? 'stream' : 'size', result: 'ok', bytes, details: { ...details, digested } };
  const differences = proof.differences.slice(0, MAX_KEPT);
  return {
    level: 'stream',
    result: 'mismatch',
    bytes,
    details: { ...details, num_differences, differences },
  };
}

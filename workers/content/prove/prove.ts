import type { DigestName } from '../../../config/index.ts';
import { LongshoreError } from '../../errors.ts';
import { type Difference, Differences, isDamage } from '../compare/differences.ts';
import { type Digests, isDigestName } from '../digest/digest.ts';
import { ManifestReader, type ManifestTrailer } from '../manifest.ts';
import { type Pace, paced } from './pace.ts';
import type { ProvenMembers } from './members.ts';
import { runPair, type ThreadOptions } from '../threads.ts';
import { feedBundle, type RemoteBundle } from '../unpack/feed.ts';

export interface ProveOptions extends Pick<ThreadOptions, 'signal' | 'onProgress'> {
  /** A file, or bytes that come from elsewhere. */
  readonly bundle: string | RemoteBundle;
  /** As a file of this host; null: the bundle has none. */
  readonly manifest: string | null;
  /** What the catalog knows of the bundle. */
  readonly expect: { readonly size?: number; readonly digests: Readonly<Digests> };
  /** Reads no faster than this. */
  readonly pace?: Pace | null;
}

export interface BundleProof {
  readonly ok: boolean;
  /** Read. */
  readonly bytes: number;
  /** Of the bundle, as it was read. */
  readonly digests: Digests;
  readonly members: number;
  /** A digest was known, of the bundle or of its members, and was computed. */
  readonly digested: boolean;
  /** What concerns the whole bundle first; no more than a thousand. */
  readonly differences: readonly Difference[];
  readonly num_differences: number;
}

type Read = { size: number; digests: Digests };

/**
 * Reads a bundle once and proves it: its size and digests, and, by its manifest, the digest of every member at its
 * place, the headers and padding between them, and the end. Nothing is written. Differences are the result; what is
 * thrown says nothing about the bundle.
 *
 * @throws E_BUNDLE_MISSING there is none
 * @throws E_TRANSFER fewer bytes arrived than the archive says it has
 */
export async function proveBundle(options: ProveOptions): Promise<BundleProof> {
  const { bundle, expect, signal, pace = null } = options;
  const found = new Differences();
  const trailer = await usableManifest(options, found);
  const known = { ...trailer?.bundle.digests, ...expect.digests };
  const digests = Object.keys(known).filter(isDigestName);
  const pair = await runPair<Read, ProvenMembers>(
    typeof bundle === 'string'
      ? { file: new URL('./reader.ts', import.meta.url), data: { bundle, digests, pace } }
      : feedBundle(pace === null ? bundle : slowed(bundle, pace, signal), { copy: null, kept: 0, digests }),
    {
      file: new URL('./members.ts', import.meta.url),
      data: { manifest: trailer === null ? null : options.manifest },
    },
    options,
  );
  if (pair.error !== null) {
    options.onProgress?.(pair.counts); // What was read was read, for whoever counts it.
    throw pair.error;
  }
  const { first: read, second: walked } = pair;
  if (read === null || walked === null) throw new Error('a thread stopped without a reason');
  if (typeof bundle !== 'string' && read.size < bundle.size) throw cutOff(bundle, read.size);
  compareWhole(found, read, { size: expect.size ?? trailer?.bundle.size, digests: known, names: digests });
  const num_differences = found.total + walked.num_differences;
  return {
    ok: num_differences === 0,
    bytes: read.size,
    digests: read.digests,
    members: walked.members,
    digested: digests.length > 0,
    differences: [...found.list, ...walked.differences],
    num_differences,
  };
}

/**
 * The end of the manifest, when it is complete and that of this bundle. Members are not compared with another one:
 * a thousand differences would hide the one that matters.
 */
async function usableManifest(
  { manifest, expect, signal }: ProveOptions,
  found: Differences,
): Promise<ManifestTrailer | null> {
  if (manifest === null) return null;
  try {
    const trailer = await trailerOf(manifest, signal);
    const { digests } = trailer.bundle;
    const foreign = Object.keys(expect.digests).find(
      (name) => digests[name] !== undefined && digests[name] !== expect.digests[name],
    );
    if (foreign === undefined) return trailer;
    const belongs = (of: Readonly<Digests>): string => `of a bundle with ${foreign} ${of[foreign]}`;
    found.add(null, 'manifest', belongs(expect.digests), belongs(digests));
  } catch (error) {
    if (!isDamage(error)) throw error;
    found.addDamage(null, error);
  }
  return null;
}

/** Lines between two turns of the event loop. */
const LINES = 5000;

async function trailerOf(path: string, signal: AbortSignal | undefined): Promise<ManifestTrailer> {
  const reader = new ManifestReader(path);
  try {
    for (let line = 1; reader.next() !== null; line++) {
      if (line % LINES !== 0) continue;
      signal?.throwIfAborted();
      await new Promise(setImmediate);
    }
    return reader.trailer;
  } finally {
    reader.close();
  }
}

function compareWhole(
  found: Differences,
  read: Read,
  known: { size: number | undefined; digests: Readonly<Digests>; names: readonly DigestName[] },
): void {
  if (known.size !== undefined && known.size !== read.size)
    found.add(null, 'size', String(known.size), String(read.size));
  for (const name of known.names) {
    const [expected, actual] = [known.digests[name] ?? '', read.digests[name] ?? ''];
    if (expected !== actual) found.add(null, name, expected, actual);
  }
}

const slowed = (bundle: RemoteBundle, pace: Pace, signal: AbortSignal | undefined): RemoteBundle => ({
  ...bundle,
  open: (offset) => paced(bundle.open(offset), pace, signal),
});

function cutOff({ name, size }: RemoteBundle, actual: number): LongshoreError {
  return new LongshoreError('E_TRANSFER', `${actual} of ${size} bytes of ${name} arrived`, {
    fields: { path: name, expected: size, actual },
  });
}

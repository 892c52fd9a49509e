import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { DigestName } from '../../../config/index.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import { Barrier } from '../barrier.ts';
import { digestMismatch, type Digests } from '../digest/digest.ts';
import { removeFile } from '../publish.ts';
import { rebuildBeginning } from './rebuild.ts';
import { runPair, type ThreadOptions } from '../threads.ts';
import type { Extracted } from './extractor.ts';
import { clear, type Left, leftBehind, noteWork, workPath } from './kept.ts';
import { feedBundle, type RemoteBundle } from './feed.ts';

export type { RemoteBundle } from './feed.ts';

export interface UnpackOptions extends ThreadOptions {
  /** A file, or bytes that come from elsewhere. */
  readonly bundle: string | RemoteBundle;
  /** A fresh, empty directory; a temporary name beside the final place. */
  readonly target: string;
  /** What the catalog knows of the bundle. The given digests are computed and must match. */
  readonly expect?: {
    readonly size?: number;
    readonly digests?: Readonly<Digests>;
    /** Of all files of the dataset together; null: not known. */
    readonly bytes?: number | null;
  };
  /** Of a bundle without manifest: how much it may ask for. Default: {@link CAUTIOUS}. */
  readonly foreign?: ForeignLimits;
  /** Digests to compute besides those of `expect`. Those that the manifest has, too, must match. */
  readonly digests?: readonly DigestName[];
  /** Also write the bundle here, from the same buffers: the staged bundle. Replaced if it exists. */
  readonly copy?: string;
  /** Made with the bundle: members are compared with it one by one, and nothing else may be in the bundle. */
  readonly manifest?: string;
  /**
   * `bundle`: the bundle's digest proves every member, since the manifest holds each one's place. `member`: the first
   * member digest of the manifest is computed too, while writing. Default: `member` where that is BLAKE3, which costs
   * nothing beside the writing; a second md5 or sha256 would cost up to 40 % of the time.
   */
  readonly verify?: 'bundle' | 'member';
  /**
   * Go on with what a dead attempt left at `target` and `copy`. Only with a manifest: what is there must prove itself. The
   * notes beside `target` that this takes are the caller's to remove (UNPACK_SIDES).
   */
  readonly resume?: boolean;
  /** Which copy of the bundle it is, for people: what was read of another one is not gone on with. */
  readonly source?: string;
  /** Told when it does: how much of the copy is there. */
  readonly onResume?: (kept: number) => void;
}

/** As in config.bundle. */
export interface ForeignLimits {
  readonly duplicates: 'refuse' | 'replace';
  readonly max_expansion: number;
}

const CAUTIOUS: ForeignLimits = { duplicates: 'refuse', max_expansion: 1000 };
/** A small tar of one large file with holes is nothing strange. */
const NEVER_TOO_MANY_BYTES = 16 * 1024 ** 3;

export interface UnpackResult {
  /** Of the bundle. */
  readonly size: number;
  readonly digests: Digests;
  readonly num_files: number;
  readonly num_directories: number;
  readonly bytes: number;
  /** The dataset: `target`, or a folder in it when all members of a foreign bundle share one. Rename this. */
  readonly root: string;
  /** What was in the bundle and could not be restored, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Unpacks a bundle in a single pass: each byte is read once, and the same buffer is checked against the bundle's
 * digest, kept as staged bundle, written out and checked against the manifest. A second thread that writes files was
 * tried and gained nothing (50,000 files of 16 KiB on ext4: 3.1 s with one and with two, medians 5.2 s and 5.4 s of five
 * in a row): the file system makes them one after the other. Everything is on disk when the promise
 * resolves; after a failure `target` and `copy` are litter for the caller to remove.
 *
 * @throws E_BUNDLE_CORRUPT size or digest differ, or the tar is damaged or cut short
 * @throws E_BUNDLE_UNSAFE a member would reach outside, is a device or FIFO, stands twice, or is a bomb of holes
 */
export async function unpackBundle(options: UnpackOptions): Promise<UnpackResult> {
  const { target, copy = null, manifest = null, source = null } = options;
  const left =
    options.resume === true && manifest !== null
      ? await leftBehind({ target, copy, manifest, source })
      : null;
  if (left === null) {
    if (options.resume === true) await clear(target, copy);
    if (manifest !== null) noteWork({ target, manifest, source });
    const result = await unpackOnce(options, null);
    if (options.resume !== true) removeFile(workPath(target)); // Else its owner may still not get it published.
    return result;
  }
  options.onResume?.(left.kept);
  try {
    return await unpackOnce(options, left);
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_BUNDLE_CORRUPT') throw error;
    // What was kept may be what is wrong: once more from the archive alone, before the bundle is called damaged.
    await clear(target, copy);
    return unpackBundle({ ...options, resume: true });
  }
}

async function unpackOnce(options: UnpackOptions, left: Left | null): Promise<UnpackResult> {
  const barrier = await Barrier.open(options.target);
  try {
    const result = await unpackInto(barrier, options, left);
    await barrier.sync();
    return result;
  } finally {
    await barrier.close();
  }
}

async function unpackInto(
  barrier: Barrier,
  options: UnpackOptions,
  left: Left | null,
): Promise<UnpackResult> {
  const {
    bundle,
    target,
    expect = {},
    copy = null,
    manifest = null,
    verify = null,
    foreign = CAUTIOUS,
  } = options;
  const name = typeof bundle === 'string' ? bundle : bundle.name;
  const bundle_size = sizeOf(bundle, expect.size);
  const kept = Math.min(left?.kept ?? 0, bundle_size);
  const digests = [
    ...new Set([...Object.keys(expect.digests ?? {}), ...(options.digests ?? [])]),
  ] as DigestName[];
  const beginning = left !== null && copy === null ? rebuildBeginning(target) : null;
  const reader =
    typeof bundle === 'string'
      ? { file: new URL('./reader.ts', import.meta.url), data: { bundle, copy, digests, kept } }
      : feedBundle(bundle, { copy, digests, kept, beginning });
  const pair = await runPair<{ size: number; digests: Digests }, Extracted>(
    reader,
    {
      file: new URL('./extractor.ts', import.meta.url),
      data: {
        target,
        manifest,
        verify,
        bundle_size,
        adopt: left !== null,
        headers: headersKept(options),
        replace: manifest === null && foreign.duplicates === 'replace',
        max_bytes: manifest === null ? mostBytes(bundle_size, expect.bytes ?? null, foreign) : null,
      },
    },
    { ...options, writes: { file: copy, barrier } },
  );
  // First what was read, then what was found in it: a strange member of a damaged bundle is damage.
  if (pair.first !== null) proveBundle(name, pair.first, expect);
  if (pair.error !== null) throw pair.error;
  if (pair.first === null || pair.second === null) throw new Error('a thread stopped without a reason');
  const { trailer, common, ...counts } = pair.second;
  if (trailer !== null) proveBundle(name, pair.first, commonDigests(trailer.bundle, pair.first));
  return { ...pair.first, ...counts, root: join(target, common) };
}

/** A far bundle of which there is to be no copy: else the next attempt would have to ask for all of it again. */
const headersKept = ({ bundle, copy, manifest, resume }: UnpackOptions): boolean =>
  typeof bundle !== 'string' && copy === undefined && manifest !== undefined && resume === true;

/** Holes cost their maker nothing. What is stored cannot be more than the bundle. */
const mostBytes = (bundle_size: number, known: number | null, { max_expansion }: ForeignLimits): number =>
  Math.max(bundle_size, known ?? Math.max(NEVER_TOO_MANY_BYTES, bundle_size * max_expansion));

function sizeOf(from: string | RemoteBundle, expected: number | undefined): number {
  const bundle = typeof from === 'string' ? from : from.name;
  const size = typeof from === 'string' ? statSync(from, { throwIfNoEntry: false })?.size : from.size;
  if (size === undefined) {
    throw new LongshoreError('E_BUNDLE_MISSING', `there is no bundle at ${bundle}`, {
      fields: { path: bundle },
    });
  }
  if (expected !== undefined && size !== expected)
    throw wrong(bundle, 'size', String(expected), String(size));
  return size;
}

type Expected = NonNullable<UnpackOptions['expect']>;

function proveBundle(bundle: string, read: { size: number; digests: Digests }, expect: Expected): void {
  if (expect.size !== undefined && read.size !== expect.size) {
    throw wrong(bundle, 'size', String(expect.size), String(read.size));
  }
  const mismatch = digestMismatch(expect.digests ?? {}, read.digests);
  if (mismatch !== null) throw wrong(bundle, mismatch.digest, mismatch.expected, String(mismatch.actual));
}

/** Of the digests in the manifest those that were computed; the catalog's choice may be a part of them. */
function commonDigests(known: { size: number; digests: Digests }, read: { digests: Digests }): Expected {
  const digests = Object.entries(known.digests).filter(([name]) => read.digests[name] !== undefined);
  return { size: known.size, digests: Object.fromEntries(digests) };
}

function wrong(path: string, what: string, expected: string, actual: string): LongshoreError {
  return new LongshoreError(
    'E_BUNDLE_CORRUPT',
    `the bundle at ${path} has ${what} ${actual}, expected ${expected}`,
    { fields: { path, what, expected, actual } },
  );
}

import type { DigestName } from '../../../config/index.ts';
import { isLongshoreError } from '../../errors.ts';
import {
  type CheckpointHead,
  lastCheckpoint,
  type Mark,
  MARK_BYTES,
  type PaxTimes,
  removeCheckpoints,
  removeMarks,
} from './checkpoint.ts';
import { createHasher, type Digests } from '../digest/digest.ts';
import { endManifest, type ManifestCounts } from '../manifest.ts';
import { drainRing } from '../ring.ts';
import { type LocalSide, type Pair, runPair, type Thread, type ThreadOptions } from '../threads.ts';
import { resolveRoot } from '../walk.ts';
import type { Written } from '../write-behind.ts';
import { type FeedSource, withXattrScan } from '../xattr/scan.ts';
import { MAX_XATTR_BYTES } from '../xattr/xattrs.ts';

export interface PackOptions extends ThreadOptions {
  /** The dataset's folder. */
  readonly source: string;
  /** Where the bundle is written; a temporary name, replaced if it exists. */
  readonly target: string;
  /** Where the manifest is written; likewise. */
  readonly manifest: string;
  /**
   * Whose times the tar holds to the nanosecond: files of 64 KiB and more, or every member, for 1 KiB each. The manifest
   * holds those of all. Default: large.
   */
  readonly pax_times?: PaxTimes;
  /** Keep extended attributes of the `user.` namespace. Default: true. */
  readonly xattrs?: boolean;
  readonly digests: { readonly member: readonly DigestName[]; readonly bundle: readonly DigestName[] };
  /**
   * Go on with what a dead attempt left at `target` and `manifest`, if it is of use. What that takes then stays beside the
   * bundle until its owner publishes or removes it (removeCheckpoints).
   */
  readonly resume?: boolean;
  /** Told where it goes on, in bytes of the bundle, and how much of what was there is not good. */
  readonly onResume?: (kept: number) => void;
  /** Distance of the places from which it can go on. */
  readonly checkpoint_bytes?: number;
}

export interface PackResult extends ManifestCounts {
  /** Of the bundle. */
  readonly size: number;
  /** Of the bundle. */
  readonly digests: Digests;
  /** What the bundle does not hold although it was asked for, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Packs a folder into one tar and its manifest in a single pass: each byte of a file is read once, and the same buffer
 * feeds the file's digests, the tar, and the bundle's digests. Two threads share the work (see ring.ts).
 * The same tree gives the same bytes: names in byte order, no access or change times, owners as numbers only.
 * A file under several names is stored once; the line of each name has the place of its data, so that each can be recalled.
 * Both files are on disk (fsync) when the promise resolves; after a failure they are litter for the caller to remove.
 *
 * @throws E_SOURCE_CHANGED a file changed, grew, shrank or vanished while it was read
 * @throws E_INSPECTION something can not be read or is no file, directory or link
 */
export async function packBundle(options: PackOptions): Promise<PackResult> {
  const { source, target, manifest, digests, pax_times = 'large', xattrs = true } = options;
  const head: CheckpointHead = { longshore_checkpoint: 3, source, ...digests, pax_times, xattrs };
  if (options.resume !== true) removeCheckpoints(target);
  let checkpoint = options.resume === true ? lastCheckpoint(options, head) : null;
  for (;;) {
    if (checkpoint === null) removeMarks(target);
    else options.onResume?.(checkpoint.mark.offset);
    const writer: Thread = {
      file: new URL('./writer.ts', import.meta.url),
      data: { target, digests: digests.bundle, checkpoint },
    };
    const marks = { target, head, every_bytes: options.checkpoint_bytes ?? MARK_BYTES };
    const from = checkpoint?.mark ?? null;
    const done = await packInto<Packed>(options, writer, { writes: { file: target }, marks, from });
    const good = checkpoint === null ? null : goodUntil(done.pair.error);
    if (good === null) {
      const result = ended(options, done);
      // The bundle may have a long way to its archive, and this process not live to see its end: who goes on keeps them.
      if (options.resume !== true) removeCheckpoints(target);
      return result;
    }
    // What was kept does not prove itself: from an earlier place, or from nothing.
    checkpoint = good === 0 ? null : lastCheckpoint({ target, manifest }, head, good + 1);
  }
}

/** Null: the error is none of a checkpoint. */
function goodUntil(error: Error | null): number | null {
  if (!isLongshoreError(error)) return null;
  const good = error.fields.checkpoint_good;
  return typeof good === 'number' ? good : null;
}

/**
 * The same for a bundle that goes away as it is made, without a file of it here. `take` is given its bytes and resolves
 * when they have arrived; a buffer stays valid after the next one was asked for.
 */
export async function packStream(
  options: Omit<PackOptions, 'target'>,
  take: (bytes: AsyncIterable<Buffer>) => Promise<void>,
): Promise<PackResult> {
  const side: LocalSide<Packed> = {
    run: async (ring) => {
      const hasher = createHasher(options.digests.bundle);
      let size = 0;
      const bytes = async function* (): AsyncGenerator<Buffer> {
        for await (const slot of drainRing(ring)) {
          hasher.update(slot);
          size += slot.length;
          yield Buffer.from(slot); // A copy: who sends it may hold it for long, the slot is needed at once.
        }
      };
      await take(bytes());
      return { size, digests: hasher.digests() };
    },
  };
  return ended(options, await packInto<Packed>(options, side, { writes: {}, marks: null, from: null }));
}

interface Packed {
  readonly size: number;
  readonly digests: Digests;
}

export interface Walked {
  readonly counts: ManifestCounts;
  readonly body: string;
  readonly xattrs_left_out: number;
}

interface Done<B> {
  readonly pair: Pair<Walked, B>;
  /** Why extended attributes are not kept; null: they are. */
  readonly failure: string | null;
}

async function packInto<B>(
  options: Omit<PackOptions, 'target'>,
  writer: Thread | LocalSide<B>,
  { writes, ...marking }: { writes: Written; marks: unknown; from: Mark | null },
): Promise<Done<B>> {
  const { source, manifest, digests, pax_times = 'large' } = options;
  const run = (xattrs: FeedSource | null): Promise<Pair<Walked, B>> => {
    const reader: Thread = {
      file: new URL('./reader.ts', import.meta.url),
      data: { source, manifest, digests: digests.member, pax_times, xattrs, ...marking },
    };
    return runPair<Walked, B>(reader, writer, { ...options, writes });
  };
  if (options.xattrs === false) return { pair: await run(null), failure: null };
  const { result, failure } = await withXattrScan(resolveRoot(source), `${manifest}.xattrs`, run);
  return { pair: result, failure };
}

function ended({ manifest }: { manifest: string }, { pair, failure }: Done<Packed>): PackResult {
  if (pair.error !== null) throw pair.error;
  if (pair.first === null || pair.second === null) throw new Error('a thread stopped without a reason');
  const { counts, body, xattrs_left_out } = pair.first;
  endManifest(manifest, { counts, bundle: pair.second, body });
  return { ...counts, ...pair.second, warnings: leftOut(failure, xattrs_left_out) };
}

function leftOut(failure: string | null, too_large: number): string[] {
  const reasons = failure === null ? [] : [failure];
  if (too_large > 0) reasons.push(`those of ${too_large} members are larger than ${MAX_XATTR_BYTES} bytes`);
  return reasons.map((reason) => `extended attributes are not kept: ${reason}`);
}

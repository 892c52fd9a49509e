/**
 * How far a bundle had come when its process died. Two files beside the half bundle, lines of a digest and JSON, both only
 * added to:
 *
 *     <target>.marks    by the reading thread: what the manifest and the source were like at a place of the bundle
 *     <target>.ledger   by the writing thread: the digests of the bundle up to that place
 *
 * and a third while a large file with holes is in it (hole-notes.ts):
 *
 *     <target>.holes    by the reading thread: which parts of that file hold data, as far as it has looked
 *
 * Nothing is synced for it: a kill loses no page, and after a power cut what does not agree is found by reading the kept
 * part once, which is done in any case, to go on with its digests.
 */
import { readFileSync } from 'node:fs';
import type { DigestName } from '../../../config/index.ts';
import { type Digests, digestOf } from '../digest/digest.ts';
import { sizeOfFile, writeSmall } from '../files.ts';
import { removeFile } from '../publish.ts';

/** At most so much is done again; and at most `MARK_MS` of work. */
export const MARK_BYTES = 256 * 1024 * 1024;
export const MARK_MS = 20_000;

/** Whose times a bundle holds to the nanosecond. */
export type PaxTimes = 'large' | 'all';

/** What the work is about: marks of anything else are of no use. */
export interface CheckpointHead {
  readonly longshore_checkpoint: 3;
  readonly source: string;
  readonly member: readonly DigestName[];
  readonly bundle: readonly DigestName[];
  readonly pax_times: PaxTimes;
  readonly xattrs: boolean;
}

/** Which file it is, and that nobody has written to it since. */
export interface FileIdentity {
  readonly path: string;
  readonly size: number;
  readonly mtime_ns: string;
  readonly ctime_ns: string;
  readonly ino: string;
  readonly dev: string;
}

/** A file in the middle of which a mark stands. */
export interface OpenMember extends FileIdentity {
  /** Where its data starts in the bundle: up to the mark it is there already. */
  readonly data_offset: number;
  /** Its data are a map and the parts that are no holes. */
  readonly sparse?: true;
}

export interface Mark {
  /** In the bundle; a whole number of blocks. */
  readonly offset: number;
  /** Of the manifest: complete lines. */
  readonly manifest_bytes: number;
  /** BLAKE3 of these bytes. */
  readonly body: string;
  readonly open: OpenMember | null;
}

export interface LedgerEntry {
  readonly offset: number;
  /** Of the bundle up to there. */
  readonly digests: Digests;
}

/** Where to go on, and what the kept part must prove to be. */
export interface Checkpoint {
  readonly mark: Mark;
  /** Up to the mark, in order; the last one is at the mark. */
  readonly ledger: readonly LedgerEntry[];
}

/** Endings of the two. */
export const CHECKPOINT_SIDES = ['.marks', '.ledger', '.holes'] as const;

export const marksPath = (target: string): string => `${target}.marks`;
export const ledgerPath = (target: string): string => `${target}.ledger`;
export const holesPath = (target: string): string => `${target}.holes`;

/** What was found of holes says itself whether it still holds, also when the bundle begins anew. */
export function removeMarks(target: string): void {
  removeFile(marksPath(target));
  removeFile(ledgerPath(target));
}

export function removeCheckpoints(target: string): void {
  removeMarks(target);
  removeFile(holesPath(target));
}

/** Believed only with its digest: a place of a hole, or of data, that is another one would be packed as it stands there. */
export function lineOf(value: unknown): string {
  const text = JSON.stringify(value);
  return `${proofOf(text)} ${text}\n`;
}

const proofOf = (text: string): string => digestOf(['blake3'], Buffer.from(text)).blake3 ?? '';

export const appendLine = (path: string, value: unknown): void =>
  writeSmall(path, lineOf(value), { flag: 'a' });

/**
 * The last usable checkpoint, or null.
 * @param below only one at a smaller offset: the part from there on was found damaged
 */
export function lastCheckpoint(
  { target, manifest }: { target: string; manifest: string },
  head: CheckpointHead,
  below = Number.POSITIVE_INFINITY,
): Checkpoint | null {
  const [first, ...marks] = linesOf(marksPath(target)) as [CheckpointHead?, ...Mark[]];
  if (first === undefined || JSON.stringify(first) !== JSON.stringify(head)) return null;
  const ledger = linesOf(ledgerPath(target)) as LedgerEntry[];
  const bundle_size = sizeOfFile(target);
  const manifest_size = sizeOfFile(manifest);
  // A place may stand there twice: what was found damaged was written again. The later line counts.
  const digests = new Map(ledger.map((entry) => [entry.offset, entry]));
  const mark = marks.findLast(
    ({ offset, manifest_bytes }) =>
      offset < below && offset <= bundle_size && manifest_bytes <= manifest_size && digests.has(offset),
  );
  if (mark === undefined) return null;
  const upTo = [...digests.values()].filter(({ offset }) => offset <= mark.offset);
  return { mark, ledger: upTo.toSorted((a, b) => a.offset - b.offset) };
}

/** Complete lines only: the last one may have been cut short. What follows a damaged one is not worth more than it. */
export function linesOf(path: string): unknown[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const values: unknown[] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const value = provenIn(line);
    if (value === null) return values;
    values.push(value);
  }
  return values;
}

function provenIn(line: string): unknown {
  const cut = line.indexOf(' ');
  const text = line.slice(cut + 1);
  return proofOf(text) === line.slice(0, Math.max(cut, 0)) ? JSON.parse(text) : null;
}

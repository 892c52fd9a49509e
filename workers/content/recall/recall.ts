import type { FileHandle } from 'node:fs/promises';
import type { DigestName } from '../../../config/index.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import { type ByteReader, createByteReader } from './byte-reader.ts';
import { createHasher, digestMismatch, type Digests, feedZeros, type Hasher } from '../digest/digest.ts';
import { digestFile } from '../digest/file.ts';
import type { ManifestMember } from '../manifest.ts';
import { shownPath } from '../path.ts';
import { removeFile } from '../publish.ts';
import type { Asked } from './paths.ts';
import { askedPieces, type Piece, type Range, rangesOf } from './plan.ts';
import type { RecallTarget } from './target.ts';
import { BLOCK } from '../tar/header.ts';
import { createMapReader, extentsOf } from '../tar/sparse.ts';
import { secondsOf, settable } from '../times.ts';
import { absolutePath } from '../walk.ts';

export interface RecallOptions {
  /** Local, and known to be complete. */
  readonly manifest: string;
  readonly asked: Asked;
  readonly target: RecallTarget;
  /** The bytes of one copy of the bundle. */
  readonly read: (offset: number, length: number) => AsyncIterable<Buffer>;
  /** By the index of a member: 1 when it is there already. What is recalled and published is marked here. */
  readonly done: Uint8Array;
  readonly signal?: AbortSignal | undefined;
  /** Bytes that have come from the copy. */
  onProgress?(bytes: number): void;
  /** A member that this copy does not hold as it was archived; nothing of it is kept, and the recall goes on. */
  onDamage(piece: Piece, error: LongshoreError): Promise<void>;
}

export interface Recalled {
  readonly files: number;
  readonly links: number;
  readonly directories: number;
  /** Of the files. */
  readonly bytes: number;
  /** Requests to the copy, and what came. */
  readonly ranges: number;
  readonly read_bytes: number;
  readonly damaged: number;
  /** What the copy failed with; the members behind it were not tried. */
  readonly failure: unknown;
}

/**
 * Takes the asked members out of one copy of a bundle and proves each by the digests of the manifest, before it shows
 * under its name. Bytes flow from the copy to the file; the memory it takes does not grow with either.
 *
 * @throws E_RECALL, E_NO_SPACE, E_IO what concerns the target; what concerns the copy is in the result
 */
export async function recallMembers(options: RecallOptions): Promise<Recalled> {
  const { target, done, signal } = options;
  const sums = { files: 0, links: 0, directories: 0, bytes: 0, ranges: 0, read_bytes: 0, damaged: 0 };
  const mark = (piece: Piece) => () => void (done[piece.index] = 1);
  const keep = async ({ path, piece }: { path: string; piece: Piece }): Promise<void> => {
    sums.files += 1;
    sums.bytes += piece.member.size;
    await target.add(path, piece.member, mark(piece));
  };
  const damage = async (piece: Piece, error: LongshoreError): Promise<void> => {
    sums.damaged += 1;
    await options.onDamage(piece, error);
  };

  const pieceAlone = async (piece: Piece): Promise<void> => {
    const { member } = piece;
    if (member.type === 'file') {
      const made = await restore(piece, null, target);
      if ('path' in made) return keep(made);
      if ('error' in made) return damage(piece, made.error);
      throw made.failure;
    }
    if (member.type === 'directory') target.directory(member);
    else target.link(member);
    sums[member.type === 'directory' ? 'directories' : 'links'] += 1;
    mark(piece)();
  };

  /** Gives what the copy failed with. */
  const pieceRange = async (range: Range): Promise<unknown> => {
    sums.ranges += 1;
    const source = options.read(range.start, range.end - range.start);
    const reader = createByteReader(source, range.start, (bytes) => {
      sums.read_bytes += bytes;
      options.onProgress?.(sums.read_bytes);
    });
    try {
      for (const piece of range.pieces) {
        signal?.throwIfAborted();
        const made = await restore(piece, reader, target);
        if ('failure' in made) return made.failure;
        await ('error' in made ? damage(piece, made.error) : keep(made));
      }
      return null;
    } finally {
      await reader.close().catch(() => undefined); // What was asked for has been read.
    }
  };

  let failure: unknown = null;
  for (const next of rangesOf(missing(options))) {
    signal?.throwIfAborted();
    if ('pieces' in next) failure = await pieceRange(next);
    else await pieceAlone(next);
    if (failure !== null) break;
  }
  await target.publish();
  return { ...sums, failure };
}

function* missing({ manifest, asked, done }: RecallOptions): Generator<Piece, void, undefined> {
  for (const piece of askedPieces(manifest, asked)) if (done[piece.index] !== 1) yield piece;
}

type Restored =
  | { readonly path: string; readonly piece: Piece }
  /** Of this member. */
  | { readonly error: LongshoreError }
  /** Of the copy. */
  | { readonly failure: unknown };

/** @param reader null for a file without data in the bundle */
async function restore(piece: Piece, reader: ByteReader | null, target: RecallTarget): Promise<Restored> {
  const { member } = piece;
  const { file, path } = await target.create();
  let complete = false;
  try {
    const hasher = createHasher(digestNames(member));
    if (reader !== null) {
      await reader.skip(piece.start - reader.offset);
      await (member.sparse === true
        ? parts(piece, reader, file, hasher)
        : copy(reader, file, { position: 0, length: member.size, hasher }));
    }
    prove(member, hasher.digests());
    if (member.sparse === true) await file.truncate(member.size);
    // Without setuid and setgid, as in a staged copy.
    await file.chmod(member.mode & 0o777);
    const mtime = settable(secondsOf(member.mtime));
    await file.utimes(mtime, mtime);
    complete = true;
    return { path, piece };
  } catch (error) {
    if (reader !== null && reader.failure !== null) return { failure: reader.failure };
    if (isLongshoreError(error) && error.code === 'E_BUNDLE_CORRUPT') return { error };
    throw nameTarget(error, path);
  } finally {
    await file.close();
    if (!complete) removeFile(path);
  }
}

/** Node knows the path of an open file no more. */
const nameTarget = (error: unknown, path: string): unknown =>
  isLongshoreError(error) ? error : Object.assign(error as NodeJS.ErrnoException, { path });

async function copy(
  reader: ByteReader,
  file: FileHandle,
  { position, length, hasher }: { position: number; length: number; hasher: Hasher },
): Promise<void> {
  for (let done = 0; done < length; ) {
    const bytes = await reader.some(length - done);
    hasher.update(bytes);
    for (let at = 0; at < bytes.length; )
      at += (await file.write(bytes, at, bytes.length - at, position + done + at)).bytesWritten;
    done += bytes.length;
  }
}

/** A map, then the parts that are no holes. */
async function parts(piece: Piece, reader: ByteReader, file: FileHandle, hasher: Hasher): Promise<void> {
  const { member, start, end } = piece;
  const read = createMapReader(end - start, start);
  let numbers = read(await reader.exactly(BLOCK));
  while (numbers === null) numbers = read(await reader.exactly(BLOCK));
  const stored = numbers.reduce((sum, length, index) => sum + (index % 2 === 1 ? length : 0), 0);
  const extents = extentsOf(numbers, member.size, stored, start);
  // A damaged map must not carry the reader into the next member.
  if (reader.offset + stored > end)
    throw damaged(member, 'stored size', `at most ${end - start}`, String(stored));
  let at = 0;
  for (const { offset, length } of extents) {
    feedZeros(hasher, offset - at);
    await copy(reader, file, { position: offset, length, hasher });
    at = offset + length;
  }
  feedZeros(hasher, member.size - at);
}

const KNOWN: readonly DigestName[] = ['blake3', 'md5', 'sha256'];

/** All that the manifest has of this file. @throws E_BUNDLE_CORRUPT when that is none: it could not be proven */
function digestNames(member: ManifestMember): DigestName[] {
  const names = KNOWN.filter((name) => member.digests?.[name] !== undefined);
  if (names.length > 0) return names;
  throw damaged(member, 'digest in the manifest', 'one at least', 'missing');
}

function prove(member: ManifestMember, actual: Digests): void {
  const expected = Object.fromEntries(
    digestNames(member).map((name) => [name, member.digests?.[name] ?? '']),
  );
  const wrong = digestMismatch(expected, actual);
  if (wrong !== null) throw damaged(member, wrong.digest, wrong.expected, String(wrong.actual));
}

function damaged(member: ManifestMember, what: string, expected: string, actual: string): LongshoreError {
  const path = shownPath(member.path);
  return new LongshoreError(
    'E_BUNDLE_CORRUPT',
    `member "${path}" of the bundle: ${what} is ${actual}, expected ${expected}`,
    {
      fields: { member: path, what, expected, actual },
    },
  );
}

/** Whether the file in a member's place has its bytes. */
export async function holdsMember(to: string, member: ManifestMember): Promise<boolean> {
  const names = digestNames(member);
  const actual = await digestFile(absolutePath(to, member.path), names);
  return names.every((name) => member.digests?.[name] === actual[name]);
}

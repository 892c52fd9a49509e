/** The beginning of a bundle, from what was unpacked of it and the headers that were kept. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { keptHeaders, readHeaders } from './kept-headers.ts';
import { containedPath, fsPath } from '../path.ts';
import { type TarMember, TarMembers } from '../tar/members.ts';
import type { TarBytes } from '../tar/source.ts';
import { absolutePath } from '../walk.ts';

const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const PIECE_BYTES = 256 * 1024;

/**
 * The bytes of the bundle from its first one on, as far as what is kept goes: up to a header that was not noted, or to
 * where a file ends before its time. Nothing here says that they are right; whoever takes them has the digests.
 *
 * Each piece is valid until the next one is asked for. The tree may be written to meanwhile by who unpacks these very
 * bytes: a file is open before its header is given away, and one that gets shorter ends the beginning there.
 */
export function* rebuildBeginning(target: string): Generator<Buffer, void, undefined> {
  const bytes = new HeaderBytes(readHeaders(target, keptHeaders(target)));
  const members = new TarMembers(bytes);
  const buffer = Buffer.allocUnsafe(PIECE_BYTES);
  for (;;) {
    const member = nextOf(members);
    if (member === null) return;
    const fd = member.stored > 0 ? openFile(target, member) : null;
    try {
      yield* bytes.taken();
      let left = member.stored;
      for (const piece of fd === null ? [] : dataOf(fd, member, buffer)) {
        yield piece;
        left -= piece.length;
      }
      if (left > 0) return;
    } finally {
      if (fd !== null) closeSync(fd);
    }
    bytes.pass(member.stored);
    members.finish(member);
    yield* bytes.taken();
  }
}

/** Null at the end of the notes, and where they make no sense: what follows comes from the archive. */
function nextOf(members: TarMembers): TarMember | null {
  try {
    return members.next();
  } catch {
    return null;
  }
}

function openFile(target: string, { name }: TarMember): number | null {
  try {
    const fd = openSync(fsPath(absolutePath(target, containedPath(name))), READ);
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
    return null;
  } catch {
    return null; // As if nothing were kept of it.
  }
}

function* dataOf(
  fd: number,
  { extents, size }: TarMember,
  buffer: Buffer,
): Generator<Buffer, void, undefined> {
  for (const { offset, length } of extents ?? [{ offset: 0, length: size }])
    for (let done = 0; done < length; ) {
      const read = readSync(fd, buffer, 0, Math.min(buffer.length, length - done), offset + done);
      if (read === 0) return;
      yield buffer.subarray(0, read);
      done += read;
    }
}

/** The notes as a tar without its files' data; keeps what was taken of it, to be handed on. */
class HeaderBytes implements TarBytes {
  offset = 0;
  readonly #frames: Iterator<Buffer>;
  #frame: Buffer = Buffer.alloc(0);
  #used = 0;
  #taken: Buffer[] = [];

  constructor(frames: Iterator<Buffer>) {
    this.#frames = frames;
  }

  exactly(length: number): Buffer {
    const parts: Buffer[] = [];
    for (let left = length; left > 0; ) {
      const part = this.#some(left);
      parts.push(part);
      left -= part.length;
    }
    const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    this.#take(bytes);
    return bytes;
  }

  /** Padding: it stands in no note. */
  skip(length: number): void {
    if (length > 0) this.#take(Buffer.alloc(length));
  }

  /** Data, which come from elsewhere. */
  pass(length: number): void {
    this.offset += length;
  }

  taken(): Buffer[] {
    const taken = this.#taken;
    this.#taken = [];
    return taken;
  }

  #take(bytes: Buffer): void {
    this.#taken.push(bytes);
    this.offset += bytes.length;
  }

  #some(most: number): Buffer {
    if (this.#used === this.#frame.length) {
      const { value, done } = this.#frames.next();
      if (done === true) throw new Error('the notes end here');
      this.#frame = value;
      this.#used = 0;
    }
    const bytes = this.#frame.subarray(this.#used, this.#used + most);
    this.#used += bytes.length;
    return bytes;
  }
}

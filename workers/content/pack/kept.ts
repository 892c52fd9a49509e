/** The reading thread's part in going on after a kill: it marks places, and holds what was kept against the source. */
import { closeSync, openSync, readSync } from 'node:fs';
import { LongshoreError } from '../../errors.ts';
import {
  appendLine,
  type CheckpointHead,
  type FileIdentity,
  type Mark,
  MARK_MS,
  marksPath,
  type OpenMember,
} from './checkpoint.ts';
import { noteHoles } from './hole-notes.ts';
import { CHUNK_BYTES, type ManifestMember, type ManifestWriter } from '../manifest.ts';
import { shownPath } from '../path.ts';
import type { HoleNotes } from '../tar/sparse.ts';
import type { TarStream } from '../tar/stream.ts';
import type { Member } from '../walk.ts';

export interface Marking {
  /** Null: no marks are made. */
  readonly marks: {
    readonly target: string;
    readonly head: CheckpointHead;
    readonly every_bytes: number;
  } | null;
  /** Where an earlier attempt had come to. */
  readonly from: Mark | null;
}

export interface Marker {
  /** Marks the place when it is time to. */
  offer(open: OpenMember | null): void;
  /** Of a file whose holes are looked for; null: nothing is noted. */
  holes(member: Member): HoleNotes | null;
}

export function createMarker({ marks, from }: Marking, tar: TarStream, writer: ManifestWriter): Marker {
  if (marks === null) return { offer: () => undefined, holes: () => null };
  const { target, head, every_bytes } = marks;
  let last = { offset: from?.offset ?? 0, at: performance.now() };
  let begun = from !== null;
  return {
    offer: (open) => {
      const moved = tar.offset - last.offset;
      if (moved === 0 || (moved < every_bytes && performance.now() - last.at < MARK_MS)) return;
      if (!begun) appendLine(marksPath(target), head);
      begun = true;
      const mark: Mark = { offset: tar.offset, ...writer.mark(), open };
      // First the mark, then the slot: the writer's entry, which makes it count, comes after both.
      appendLine(marksPath(target), mark);
      tar.mark();
      last = { offset: tar.offset, at: performance.now() };
    },
    holes: (member) => noteHoles(target, identityOf(member), every_bytes),
  };
}

/** What an earlier attempt has packed, held against what the walk finds now. */
export class Kept {
  readonly #from: Mark;
  readonly #lines: Generator<Buffer, void, undefined>;
  readonly #writer: ManifestWriter;
  #ended = false;
  #open: OpenMember | null;

  constructor(manifest: string, from: Mark, writer: ManifestWriter) {
    this.#from = from;
    this.#open = from.open;
    this.#writer = writer;
    this.#lines = keptLines(manifest, from.manifest_bytes);
    const { value: header } = this.#lines.next();
    if (header !== undefined) writer.keep(header, null);
  }

  /** The line of this member; null after the last one. @throws when the source is not what it was */
  next(member: Member): ManifestMember | null {
    if (this.#ended) return null;
    const { value: line } = this.#lines.next();
    if (line === undefined) {
      this.#ended = true;
      if (this.#writer.mark().body !== this.#from.body)
        throw stale(member.path, 'the kept manifest is damaged');
      return null;
    }
    const known = memberIn(line);
    if (known === null) throw stale(member.path, 'the kept manifest is damaged');
    const same =
      known.path === member.path &&
      known.type === member.type &&
      known.mode === member.mode &&
      known.mtime === String(member.mtime_ns) &&
      (known.type === 'directory' || known.size === member.size) &&
      (known.type !== 'symbolic link' || known.target === member.target);
    if (!same) throw stale(member.path, `was ${known.path} of ${known.size} bytes`);
    this.#writer.keep(line, known);
    return known;
  }

  /** The file in the middle of which the bundle ended, if this member is it. */
  open(member: Member): OpenMember | null {
    const open = this.#open;
    if (open === null) return null;
    this.#open = null;
    const same = Object.entries(identityOf(member)).every(
      ([key, value]) => open[key as keyof FileIdentity] === value,
    );
    if (!same) throw stale(member.path, `was ${open.path} of ${open.size} bytes`);
    return open;
  }

  assertUsed(): void {
    if (!this.#ended && this.#lines.next().done !== true) throw stale('.', 'holds fewer members');
    if (this.#open !== null) throw stale(this.#open.path, 'is gone');
  }
}

/** What the half bundle holds of the file in the middle of which it ended, from the file's first byte in it on. */
export class KeptData {
  readonly #fd: number;
  readonly #path: string;
  readonly #check: () => void;
  #at: number;
  readonly #end: number;
  readonly #buffer = Buffer.allocUnsafe(1024 * 1024);

  /** @param end where the half bundle ends */
  constructor({ open, target }: Begun, end: number, check: () => void) {
    this.#fd = openSync(target, 'r');
    this.#path = open.path;
    this.#check = check;
    this.#at = open.data_offset;
    this.#end = end;
  }

  /** The next bytes, up to `most`, piece by piece to `each`; gives how many there were. */
  take(most: number, each: (bytes: Buffer) => void): number {
    const wanted = Math.min(most, this.#end - this.#at);
    for (let left = wanted; left > 0; ) {
      this.#check();
      const length = readSync(this.#fd, this.#buffer, 0, Math.min(this.#buffer.length, left), this.#at);
      if (length === 0) throw stale(this.#path, 'the half bundle is shorter than it was');
      each(this.#buffer.subarray(0, length));
      this.#at += length;
      left -= length;
    }
    return wanted;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** The beginning of a file that is in the bundle at `target` already. */
export interface Begun {
  readonly open: OpenMember;
  readonly target: string;
}

/** Caught by packBundle, which begins anew. */
export const stale = (path: string, why: string): LongshoreError =>
  new LongshoreError('E_SOURCE_CHANGED', `"${shownPath(path)}" is not what was packed before: ${why}`, {
    fields: { path: shownPath(path), checkpoint_good: 0 },
  });

export const identityOf = (member: Member): FileIdentity => ({
  path: member.path,
  size: member.size,
  mtime_ns: String(member.mtime_ns),
  ctime_ns: String(member.ctime_ns),
  ino: String(member.ino),
  dev: String(member.dev),
});

/** Null: no line of a manifest. What it says is proven with the last one. */
function memberIn(line: Buffer): ManifestMember | null {
  try {
    return JSON.parse(line.toString('utf8')) as ManifestMember | null;
  } catch {
    return null;
  }
}

/** The lines of a manifest that is not complete, up to `size` bytes: first the header, then members. */
function* keptLines(path: string, size: number): Generator<Buffer, void, undefined> {
  const fd = openSync(path, 'r');
  try {
    let rest = Buffer.alloc(0);
    for (let at = 0; at < size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size - at));
      const length = readSync(fd, chunk, 0, chunk.length, at);
      if (length === 0) return;
      at += length;
      const bytes = Buffer.concat([rest, chunk.subarray(0, length)]);
      let start = 0;
      for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
        yield bytes.subarray(start, end + 1);
        start = end + 1;
      }
      rest = bytes.subarray(start);
    }
  } finally {
    closeSync(fd);
  }
}

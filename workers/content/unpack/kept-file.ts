import { ftruncateSync, readSync } from 'node:fs';
import { allocatedParts, type Part } from '../tar/holes.ts';

const ZEROS = Buffer.alloc(256 * 1024);
const PAGE = 4096;
/** Smaller holes are read: to ask what is allocated takes a run of another program. */
const LARGE_BYTES = 64 * 1024 * 1024;

/** The bytes of a file that were there before, as long as they are those that come now. */
export class KeptFile {
  readonly #fd: number;
  readonly #size: number;
  #left: number;
  #buffer = Buffer.alloc(0);
  #allocated: readonly Part[] | null = null;

  /** @param fd open for reading and writing */
  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.#size = size;
    this.#left = size;
  }

  /** How many of these bytes stand at `position` already. */
  matching(bytes: Buffer, position: number): number {
    const wanted = Math.min(bytes.length, this.#left - position);
    if (wanted <= 0) return 0;
    if (this.#buffer.length < wanted) this.#buffer = Buffer.allocUnsafe(wanted);
    let read = 0;
    while (read < wanted) {
      const length = readSync(this.#fd, this.#buffer, read, wanted - read, position + read);
      if (length === 0) break;
      read += length;
    }
    if (this.#buffer.compare(bytes, 0, read, 0, read) === 0) return read;
    this.#left = 0; // From here on it is written.
    return 0;
  }

  /** What stands where a hole comes goes, with all behind it: nothing would be written over it. */
  hole(start: number, end: number): void {
    const most = Math.min(end, this.#size);
    for (const part of this.#within(start, most)) {
      if (this.#isZero(part)) continue;
      ftruncateSync(this.#fd, start);
      this.#left = Math.min(this.#left, start);
      return;
    }
  }

  /** The parts of a range that may be anything else than a hole. */
  #within(start: number, end: number): readonly Part[] {
    if (end - start < LARGE_BYTES) return end > start ? [{ offset: start, length: end - start }] : [];
    this.#allocated ??= allocatedParts(this.#fd, this.#size, PAGE) ?? [{ offset: 0, length: this.#size }];
    return this.#allocated.flatMap(({ offset, length }) => {
      const from = Math.max(offset, start);
      const to = Math.min(offset + length, end);
      return to > from ? [{ offset: from, length: to - from }] : [];
    });
  }

  /** Also what is there no more: it was cut off before. */
  #isZero({ offset, length }: Part): boolean {
    const buffer = Buffer.allocUnsafe(Math.min(ZEROS.length, length));
    for (let at = 0; at < length; ) {
      const read = readSync(this.#fd, buffer, 0, Math.min(buffer.length, length - at), offset + at);
      if (read === 0) return true;
      if (ZEROS.compare(buffer, 0, read, 0, read) !== 0) return false;
      at += read;
    }
    return true;
  }
}

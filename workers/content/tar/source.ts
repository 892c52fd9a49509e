import type { RingConsumer } from '../ring.ts';
import { corrupt } from './header.ts';

/** What a tar is taken apart from. */
export interface TarBytes {
  /** Of the next byte. */
  readonly offset: number;
  /** Exactly `length` bytes, valid until the next call. */
  exactly(length: number): Buffer;
  /** Lets padding go by. */
  skip(length: number): void;
}

/** Is given all that is neither data nor padding, with its place. */
export interface HeaderSink {
  add(bytes: Buffer, offset: number): void;
}

/** The bytes of a bundle as they come out of the ring. */
export class TarSource implements TarBytes {
  /** Of the next byte. */
  offset = 0;
  readonly #ring: RingConsumer;
  readonly #onDone: (bytes: number) => void;
  readonly #headers: HeaderSink | null;
  #slot: Buffer | null = null;
  #used = 0;

  /** `onDone`: so many bytes of the bundle have been dealt with. */
  constructor(
    ring: RingConsumer,
    onDone: (bytes: number) => void = () => undefined,
    headers: HeaderSink | null = null,
  ) {
    this.#ring = ring;
    this.#onDone = onDone;
    this.#headers = headers;
  }

  /** No byte is left. */
  get ended(): boolean {
    return this.#current() === null;
  }

  /** @throws E_BUNDLE_CORRUPT where the bundle ends before */
  exactly(length: number): Buffer {
    const { offset } = this;
    const bytes = this.#exactly(length);
    this.#headers?.add(bytes, offset);
    return bytes;
  }

  #exactly(length: number): Buffer {
    const first = this.some(length);
    if (first.length === length) return first;
    // Across slots, which happens only to pax records and maps: a block never lies across.
    const parts = [Buffer.from(first)];
    let missing = length - first.length;
    while (missing > 0) {
      const part = Buffer.from(this.some(missing));
      parts.push(part);
      missing -= part.length;
    }
    return Buffer.concat(parts);
  }

  /** Between one and `most` bytes, valid until the next call. @throws E_BUNDLE_CORRUPT at the end of the bundle */
  some(most: number): Buffer {
    if (most === 0) return Buffer.alloc(0);
    const slot = this.#current();
    if (slot === null)
      throw corrupt(this.offset, 'the end of the bundle', 'more members or two empty blocks', 'here');
    const bytes = slot.subarray(this.#used, this.#used + most);
    this.#used += bytes.length;
    this.offset += bytes.length;
    return bytes;
  }

  skip(length: number): void {
    for (let left = length; left > 0; ) left -= this.some(left).length;
  }

  /** Lets the rest go by, so that the reading thread can finish the bundle's digest. */
  drain(): void {
    for (let slot = this.#current(); slot !== null; slot = this.#current()) this.#used = slot.length;
  }

  #current(): Buffer | null {
    if (this.#slot !== null && this.#used === this.#slot.length) {
      this.#onDone(this.#slot.length);
      this.#ring.release();
      this.#slot = null;
    }
    if (this.#slot === null) {
      this.#slot = this.#ring.take();
      this.#used = 0;
    }
    return this.#slot;
  }
}

/** How the bytes of an object are cut into the parts of a multipart upload. */
import { createHash } from 'node:crypto';

/** S3 takes no more. */
export const MAX_PARTS = 10_000;
const MIB = 1024 ** 2;
/** A part is one buffer, and one write to a socket; OpenSSL takes no larger ones. */
const MAX_PART_BYTES = 2 * 1024 ** 3 - MIB;
/** Of a stream whose end is not known. */
const FIRST_GROWTH = 2000;
const GROWTH_EVERY = 1000;

export interface PartPlan {
  /** Of the first part. */
  readonly part_bytes: number;
  /** Whether later parts are larger: the size of the object is not known. */
  readonly grows: boolean;
}

/** The same for the same size, so that a second attempt cuts at the same places. */
export function planParts(part_bytes: number, size: number | null): PartPlan {
  if (size === null) return { part_bytes, grows: true };
  const least = Math.ceil(size / MAX_PARTS / MIB) * MIB;
  return { part_bytes: Math.min(Math.max(part_bytes, least), MAX_PART_BYTES), grows: false };
}

/**
 * Bytes of the part with this number (from 1). Where the size is not known, parts double after the 2,000th and then
 * after each thousand: with 64 MiB the first 134 GB need no more memory than a known size does, and 10,000 parts hold
 * 10 TB; with 5 MiB they hold 2.7 TB.
 */
export function partSize({ part_bytes, grows }: PartPlan, number: number): number {
  if (!grows || number <= FIRST_GROWTH) return part_bytes;
  const doublings = Math.ceil((number - FIRST_GROWTH) / GROWTH_EVERY);
  return Math.min(part_bytes * 2 ** doublings, MAX_PART_BYTES);
}

export interface Part {
  readonly number: number;
  /** Valid until it is given back to the pool. */
  readonly bytes: Buffer;
  readonly md5: string;
  readonly last: boolean;
}

/** Buffers that are used again and again: the collector frees large ones too late. */
export interface BufferPool {
  take(size: number): Buffer;
  giveBack(bytes: Buffer): void;
}

export function createPool(): BufferPool {
  let free: ArrayBufferLike[] = [];
  return {
    take: (size) => {
      free = free.filter((one) => one.byteLength >= size); // Smaller ones come from before the parts grew.
      const store = free.pop();
      return store === undefined ? Buffer.allocUnsafeSlow(size) : Buffer.from(store, 0, size);
    },
    giveBack: (bytes) => void free.push(bytes.buffer),
  };
}

/**
 * The parts of a stream, digested on the way. There is always one, of an empty stream an empty one. A full part is
 * handed on when the next byte has come, so that the last one is known as such.
 */
export async function* cutParts(
  source: AsyncIterable<Buffer>,
  plan: PartPlan,
  pool: BufferPool,
): AsyncGenerator<Part> {
  let number = 1;
  let into = pool.take(partSize(plan, number));
  let at = 0;
  let md5 = createHash('md5');
  const cut = (last: boolean): Part => ({
    number,
    bytes: into.subarray(0, at),
    md5: md5.digest('hex'),
    last,
  });
  for await (const chunk of source) {
    for (let from = 0; from < chunk.length; ) {
      if (at === into.length) {
        yield cut(false);
        number += 1;
        into = pool.take(partSize(plan, number));
        at = 0;
        md5 = createHash('md5');
      }
      const piece = chunk.subarray(from, from + into.length - at);
      into.set(piece, at);
      md5.update(piece);
      at += piece.length;
      from += piece.length;
    }
  }
  yield cut(true);
}

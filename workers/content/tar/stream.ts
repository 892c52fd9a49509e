import type { RingProducer } from '../ring.ts';
import { BLOCK, type HeaderFields, MAX_ID, MAX_SIZE, splitName, TYPE, writeHeader } from './header.ts';
import { paxRecord } from './pax.ts';

/** A tar as it grows in the ring: blocks go straight into the slot that is being filled. */
export class TarStream {
  /** Bytes produced so far: the place of the next one in the bundle. */
  offset = 0;
  readonly #ring: RingProducer;
  #slot: Buffer;
  #used = 0;

  /** @param start place in the bundle of the first byte, when the part before it is there already */
  constructor(ring: RingProducer, start = 0) {
    this.offset = start;
    this.#ring = ring;
    this.#slot = ring.acquire();
  }

  /** Room for up to `wanted` bytes (at least one) in the current slot; tell `advance` how many were filled. */
  room(wanted: number): Buffer {
    if (this.#used === this.#slot.length) this.#next();
    return this.#slot.subarray(this.#used, this.#used + wanted);
  }

  advance(bytes: number): void {
    this.#used += bytes;
    this.offset += bytes;
  }

  /** Makes sure that `bytes` (at most a slot) fit without a break, handing on a slot that is not full if need be. */
  contiguous(bytes: number): void {
    if (this.#slot.length - this.#used < bytes) this.#next();
  }

  write(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const into = this.room(bytes.length - at);
      const length = bytes.copy(into, 0, at);
      this.advance(length);
      at += length;
    }
  }

  /** Zeros up to the next block. */
  pad(): void {
    const rest = this.offset % BLOCK;
    if (rest === 0) return;
    this.contiguous(BLOCK - rest); // Never hands on: slots are whole blocks and members start on one.
    this.room(BLOCK - rest).fill(0);
    this.advance(BLOCK - rest);
  }

  /**
   * The header of a member, preceded by a pax header where the ustar fields are too small. Times are whole seconds, but
   * for what the caller adds.
   */
  header(
    fields: Omit<HeaderFields, 'name' | 'prefix'> & { name: Buffer },
    extra: readonly Buffer[] = [],
  ): void {
    const split = splitName(fields.name);
    const link = fields.link !== undefined && fields.link.length > 100 ? undefined : fields.link;
    const records = [...extra];
    if (split === null) records.push(paxRecord('path', fields.name));
    if (link !== fields.link && fields.link !== undefined) records.push(paxRecord('linkpath', fields.link));
    if (fields.size > MAX_SIZE) records.push(paxRecord('size', String(fields.size)));
    if (fields.uid > MAX_ID) records.push(paxRecord('uid', String(fields.uid)));
    if (fields.gid > MAX_ID) records.push(paxRecord('gid', String(fields.gid)));
    if (fields.mtime < 0 || fields.mtime > MAX_SIZE) records.push(paxRecord('mtime', String(fields.mtime)));
    if (records.length > 0) this.#pax(Buffer.concat(records));
    const names = split ?? { name: fields.name.subarray(0, 100) };
    this.#block({ ...fields, ...names, link: link ?? fields.link?.subarray(0, 100) });
  }

  /** Hands on what there is, marked. Only between blocks: the consumer's slots are whole blocks. */
  mark(): void {
    this.#ring.publish(this.#used, true);
    this.#slot = this.#ring.acquire();
    this.#used = 0;
  }

  /** Two blocks of zeros, and the end of the ring. */
  end(): void {
    this.write(Buffer.alloc(2 * BLOCK));
    if (this.#used > 0) this.#ring.publish(this.#used);
    this.#ring.end();
  }

  #pax(records: Buffer): void {
    const name = Buffer.from('./PaxHeaders/member');
    this.#block({ name, type: TYPE.pax, mode: 0o644, uid: 0, gid: 0, size: records.length, mtime: 0 });
    this.write(records);
    this.pad();
  }

  #block(fields: HeaderFields): void {
    this.contiguous(BLOCK);
    writeHeader(this.room(BLOCK), 0, fields);
    this.advance(BLOCK);
  }

  #next(): void {
    this.#ring.publish(this.#used);
    this.#slot = this.#ring.acquire();
    this.#used = 0;
  }
}

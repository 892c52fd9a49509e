import { isUtf8 } from 'node:buffer';
import type { RingProducer } from '../ring.ts';
import { BLOCK, type HeaderFields, MAX_ID, MAX_SIZE, splitName, TYPE, writeHeader } from './header.ts';
import { paxRecord, paxTime } from './pax.ts';

const SECOND = 1_000_000_000n;

export type MemberFields = Omit<HeaderFields, 'name' | 'prefix' | 'mtime'> & {
  readonly name: Buffer;
  readonly mtime_ns: bigint;
  readonly exact_time: boolean;
};

const PAX_HEADER = Buffer.from('./PaxHeaders/member');
const LONG_LINK = Buffer.from('././@LongLink');

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
   * The header of a member, preceded by a pax header where the ustar fields are too small, or where it is asked for. Long
   * names that are no UTF-8 go the way of GNU tar: pax records are UTF-8 by definition, and bsdtar fails over others.
   * @param exact_time the nanoseconds too, for 1 KiB more; where there is a pax header anyway they cost nothing
   */
  header({ mtime_ns, exact_time, ...given }: MemberFields, extra: readonly Buffer[] = []): void {
    const fields = { ...given, mtime: Number(mtime_ns / SECOND) };
    const split = splitName(fields.name);
    const link = fields.link !== undefined && fields.link.length > 100 ? undefined : fields.link;
    const records = [...extra];
    const long = (key: string, type: string, bytes: Buffer): void => {
      if (isUtf8(bytes)) records.push(paxRecord(key, bytes));
      else this.#extension(LONG_LINK, type, Buffer.concat([bytes, Buffer.of(0)]));
    };
    if (split === null) long('path', TYPE.gnuLongName, fields.name);
    if (link !== fields.link && fields.link !== undefined) long('linkpath', TYPE.gnuLongLink, fields.link);
    if (fields.size > MAX_SIZE) records.push(paxRecord('size', String(fields.size)));
    if (fields.uid > MAX_ID) records.push(paxRecord('uid', String(fields.uid)));
    if (fields.gid > MAX_ID) records.push(paxRecord('gid', String(fields.gid)));
    const exact = mtime_ns % SECOND !== 0n && (exact_time || records.length > 0);
    if (exact || mtime_ns < 0n || fields.mtime > MAX_SIZE)
      records.push(paxRecord('mtime', paxTime(mtime_ns)));
    if (records.length > 0) this.#extension(PAX_HEADER, TYPE.pax, Buffer.concat(records));
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

  #extension(name: Buffer, type: string, body: Buffer): void {
    this.#block({ name, type, mode: 0o644, uid: 0, gid: 0, size: body.length, mtime: 0 });
    this.write(body);
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

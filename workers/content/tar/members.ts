import { decodePath } from '../path.ts';
import { type Xattrs, xattrsOf } from '../xattr/xattrs.ts';
import { BLOCK, corrupt, number, readHeader, type TarHeader, TYPE } from './header.ts';
import { mergePax, parsePax, withoutXattrs } from './pax.ts';
import type { TarBytes } from './source.ts';
import { createMapReader, digits, type Extent, extentsOf, soundExtents } from './sparse.ts';

/** A member as the extractor meets it: all extension headers resolved, the data next in the source. */
export interface TarMember {
  readonly name: string;
  readonly type: string;
  readonly link: string;
  readonly mode: number;
  /** Seconds, with a fraction where the bundle has one. */
  readonly mtime: number;
  /** Of the file, holes included. */
  readonly size: number;
  /** Bytes that follow in the bundle. */
  readonly stored: number;
  /** Where the data blocks start; a sparse map is the first of them. */
  readonly offset: number;
  readonly extents: readonly Extent[] | null;
  readonly xattrs: Xattrs | null;
}

/** Extension headers are read into memory; more than this is an attack. */
const MAX_EXTENSION_BYTES = 1024 * 1024;

/** Extension headers that wait for their member. */
interface Pending {
  pax: ReadonlyMap<string, Buffer>;
  longName: Buffer | null;
  longLink: Buffer | null;
}

/** Reads member after member; the caller takes `stored` bytes, then calls `finish`. */
export class TarMembers {
  readonly #source: TarBytes;
  #global: ReadonlyMap<string, Buffer> = new Map();

  constructor(source: TarBytes) {
    this.#source = source;
  }

  /** Null at the end mark. */
  next(): TarMember | null {
    const pending: Pending = { pax: this.#global, longName: null, longLink: null };
    for (;;) {
      const at = this.#source.offset;
      const header = readHeader(this.#source.exactly(BLOCK), at);
      if (header === null) return null;
      if (!this.#extension(header, pending, at)) return this.#member(header, pending, at);
    }
  }

  /** Skips the padding behind a member's data. */
  finish(member: TarMember): void {
    this.#source.skip(padding(member.stored));
  }

  #extension(header: TarHeader, pending: Pending, at: number): boolean {
    switch (header.type) {
      case TYPE.pax:
        pending.pax = mergePax(withoutXattrs(pending.pax), parsePax(this.#body(header, at), at));
        return true;
      case TYPE.paxGlobal:
        this.#global = mergePax(this.#global, withoutXattrs(parsePax(this.#body(header, at), at)));
        pending.pax = mergePax(this.#global, pending.pax);
        return true;
      case TYPE.gnuLongName:
        pending.longName = untilZero(this.#body(header, at));
        return true;
      case TYPE.gnuLongLink:
        pending.longLink = untilZero(this.#body(header, at));
        return true;
      case 'V': // GNU volume label: no member.
        return true;
      default:
        return false;
    }
  }

  #body(header: TarHeader, at: number): Buffer {
    if (header.size < 0 || header.size > MAX_EXTENSION_BYTES) {
      throw corrupt(at, 'size of an extension header', `at most ${MAX_EXTENSION_BYTES}`, String(header.size));
    }
    const body = Buffer.from(this.#source.exactly(header.size));
    this.#source.skip(padding(header.size));
    return body;
  }

  #member(header: TarHeader, { pax, longName, longLink }: Pending, at: number): TarMember {
    const name = pax.get('GNU.sparse.name') ?? pax.get('path') ?? longName ?? header.name;
    const link = pax.get('linkpath') ?? longLink ?? header.link;
    // Only files have data behind them; the size of a link or directory means nothing.
    const hasData = FILES.has(header.type);
    const stored = hasData ? decimal(pax, 'size', header.size, at) : 0;
    if (stored < 0 || !Number.isSafeInteger(stored))
      throw corrupt(at, 'size', 'a possible file size', String(stored));
    const offset = this.#source.offset;
    const sparse = this.#sparse(header, pax, stored, at);
    const data = sparse ?? { extents: null, size: stored, stored };
    return {
      name: decodePath(name),
      type: header.type,
      link: decodePath(link),
      mode: header.mode,
      mtime: decimal(pax, 'mtime', header.mtime, at, TIME),
      offset,
      xattrs: xattrsOf(pax),
      ...data,
    };
  }

  /** Reads the sparse map, whichever of the four formats it is in, and leaves the source at the data. */
  #sparse(
    header: TarHeader,
    pax: ReadonlyMap<string, Buffer>,
    stored: number,
    at: number,
  ): { extents: Extent[]; size: number; stored: number } | null {
    if (header.type === TYPE.gnuSparse) return this.#oldSparse(header, stored, at);
    const major = pax.get('GNU.sparse.major')?.toString();
    if (major === undefined && !pax.has('GNU.sparse.map') && !pax.has('GNU.sparse.size')) return null;
    const size = decimal(
      pax,
      pax.has('GNU.sparse.realsize') ? 'GNU.sparse.realsize' : 'GNU.sparse.size',
      -1,
      at,
    );
    if (major === '1') return this.#mapInData(size, stored, at);
    const numbers = pax.get('GNU.sparse.map')?.toString('latin1').split(',').map(digits);
    if (numbers === undefined) throw corrupt(at, 'sparse format', '0.1 or 1.0', 'another one');
    return { extents: extentsOf(numbers, size, stored, at), size, stored };
  }

  #mapInData(size: number, stored: number, at: number) {
    const start = this.#source.offset;
    const read = createMapReader(stored, at);
    let numbers = read(this.#source.exactly(BLOCK));
    while (numbers === null) numbers = read(this.#source.exactly(BLOCK));
    const left = stored - (this.#source.offset - start);
    return { extents: extentsOf(numbers, size, left, at), size, stored: left };
  }

  #oldSparse(header: TarHeader, stored: number, at: number) {
    const extents: Extent[] = [];
    const take = (block: Buffer, start: number, count: number): void => {
      for (let place = start; place < start + count * 24; place += 24) {
        const offset = number(block, place, 12, at, 'sparse offset');
        const length = number(block, place + 12, 12, at, 'sparse length');
        if (length > 0 || offset > 0) extents.push({ offset, length });
      }
    };
    take(header.block, 386, 4);
    const size = number(header.block, 483, 12, at, 'real size');
    for (let more = header.block[482]; more !== undefined && more !== 0; ) {
      const block = Buffer.from(this.#source.exactly(BLOCK));
      take(block, 0, 21);
      more = block[504];
      if (extents.length > MAX_EXTENSION_BYTES) throw corrupt(at, 'sparse map', 'fewer parts', 'too many');
    }
    return { extents: soundExtents(extents, size, stored, at), size, stored };
  }
}

const FILES: ReadonlySet<string> = new Set([TYPE.file, TYPE.contiguous, TYPE.gnuSparse]);

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

const DECIMAL = /^-?\d+(\.\d*)?$/;
/** Python writes one within a tenth of a millisecond of 1970 as `1e-05`. */
const TIME = /^-?\d+(\.\d*)?(e-\d+)?$/;

function decimal(
  pax: ReadonlyMap<string, Buffer>,
  key: string,
  otherwise: number,
  at: number,
  form = DECIMAL,
): number {
  const text = pax.get(key)?.toString();
  if (text === undefined) return otherwise;
  const value = form.test(text) ? Number(text) : Number.NaN;
  // Also of times: what is beyond is no time that a file can have.
  if (!(Math.abs(value) <= Number.MAX_SAFE_INTEGER))
    throw corrupt(at, `pax ${key}`, 'a decimal number up to 2^53', JSON.stringify(text.slice(0, 100)));
  return value;
}

function untilZero(bytes: Buffer): Buffer {
  const zero = bytes.indexOf(0);
  return zero === -1 ? bytes : bytes.subarray(0, zero);
}

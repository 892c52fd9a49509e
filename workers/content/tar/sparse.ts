import { readSync } from 'node:fs';
import { BLOCK, corrupt } from './header.ts';
import { allocatedParts } from './holes.ts';

/** A part of a file that is no hole. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** What is known of a file up to a place. */
export interface FoundParts {
  readonly at: number;
  readonly parts: readonly Extent[];
  /** Where the part begins in the middle of which the place is. */
  readonly open: number | null;
}

export interface HoleNotes {
  /** What an earlier attempt has found of this very file. */
  readonly before: FoundParts | null;
  /** Notes what is found when it is time to. */
  offer(found: FoundParts): void;
}

const PAGE = 4096;
const ZEROS = Buffer.alloc(256 * 1024);
/** Bounds the map of a pathological file: what follows is stored as one part, holes and all. */
const MAX_EXTENTS = 8192;

/** From this size on a run of another program costs less than reading the holes. */
const LARGE_BYTES = 64 * 1024 * 1024;

/**
 * The parts of an open file that hold data; a page of zeros counts as hole, allocated or not: two copies of a tree give
 * the same bundle, however each of them was written. So what is allocated is read, once more than otherwise; of a
 * large file the rest is passed over.
 */
export function findExtents(
  fd: number,
  size: number,
  { check, notes = null, allocated = allocatedParts }: Search,
): Extent[] {
  const parts = size < LARGE_BYTES ? null : allocated(fd, size, PAGE);
  const found = new Extents(notes?.before ?? null);
  const start = notes?.before?.at ?? 0;
  const looked = (at: number): void => {
    check();
    notes?.offer(found.upTo(at));
  };
  for (const part of parts ?? [{ offset: 0, length: size }]) {
    const end = part.offset + part.length;
    if (end < start) continue;
    // It shrank; the caller's second look at the file says so.
    if (!readPart(fd, Math.max(part.offset, start), end, found, looked)) return found.ended(size);
    found.hole(end);
  }
  notes?.offer(found.upTo(size));
  return found.ended(size);
}

export interface Search {
  readonly check: () => void;
  /** Where to go on, and whom to tell how far it is. */
  readonly notes?: HoleNotes | null;
  readonly allocated?: (fd: number, size: number, page: number) => readonly Extent[] | null;
}

/** Grows page by page. */
class Extents {
  readonly #all: Extent[];
  #open: number | null;

  constructor(before: FoundParts | null) {
    this.#all = [...(before?.parts ?? [])];
    this.#open = before?.open ?? null;
  }

  upTo(at: number): FoundParts {
    return { at, parts: this.#all, open: this.#open };
  }

  data(at: number): void {
    this.#open ??= at;
  }

  hole(at: number): void {
    if (this.#open === null || this.#all.length >= MAX_EXTENTS) return;
    this.#all.push({ offset: this.#open, length: at - this.#open });
    this.#open = null;
  }

  ended(size: number): Extent[] {
    if (this.#open !== null) this.#all.push({ offset: this.#open, length: size - this.#open });
    return this.#all;
  }
}

function readPart(
  fd: number,
  start: number,
  end: number,
  found: Extents,
  looked: (at: number) => void,
): boolean {
  const buffer = Buffer.allocUnsafe(ZEROS.length);
  for (let at = start; at < end; ) {
    looked(at);
    const read = readSync(fd, buffer, 0, Math.min(buffer.length, end - at), at);
    if (read === 0) return false;
    for (let page = 0; page < read; page += PAGE) {
      const stop = Math.min(page + PAGE, read);
      if (ZEROS.compare(buffer, page, stop, 0, stop - page) === 0) found.hole(at + page);
      else found.data(at + page);
    }
    at += read;
  }
  return true;
}

/** The map that precedes the data in GNU sparse format 1.0: decimal lines, padded to whole blocks. */
export function encodeSparseMap(extents: readonly Extent[], size: number): Buffer {
  // GNU tar closes the map of a file that ends in a hole with an empty part at its end.
  const last = extents.at(-1);
  const all =
    last !== undefined && last.offset + last.length === size
      ? extents
      : [...extents, { offset: size, length: 0 }];
  const text = `${all.length}\n${all.map((extent) => `${extent.offset}\n${extent.length}\n`).join('')}`;
  return Buffer.from(text.padEnd(Math.ceil(text.length / BLOCK) * BLOCK, '\0'));
}

/** Refuses maps that are out of order, overlap, or reach outside the file. */
function checkExtents(extents: readonly Extent[], size: number, stored: number, at: number): void {
  let end = 0;
  let data = 0;
  for (const { offset, length } of extents) {
    if (offset < end || length < 0 || offset + length > size) {
      throw corrupt(at, 'sparse map', `parts in order within ${size} bytes`, `${length} bytes at ${offset}`);
    }
    end = offset + length;
    data += length;
  }
  if (data !== stored) throw corrupt(at, 'sparse map', `${stored} bytes of data`, String(data));
}

/** Of a file with holes, whose size costs its maker nothing. */
const MAX_SPARSE_BYTES = 2 ** 50;
/** A map is read into memory; more than this is an attack. */
const MAX_MAP_BYTES = 1024 * 1024;

/**
 * Takes the blocks of a 1.0 map one by one and gives the numbers in it with the last block, null before.
 * @param stored bytes that the member has in the bundle, the map included
 */
export function createMapReader(stored: number, at: number): (block: Buffer) => number[] | null {
  const most = Math.min(stored, MAX_MAP_BYTES);
  // Put together once, at the end: with each block anew a map of a megabyte took six seconds.
  const parts: string[] = [];
  let newlines = 0;
  let count: number | null = null;
  return (block) => {
    if ((parts.length + 1) * BLOCK > most) throw corrupt(at, 'sparse map', `at most ${most} bytes`, 'longer');
    const part = block.toString('latin1');
    parts.push(part);
    newlines += part.split('\n').length - 1;
    if (newlines === 0) return null;
    // Every entry takes at least four bytes, so a wrong count ends at the size limit above.
    count ??= digits(parts.join('').split('\n', 1)[0] as string);
    if (newlines < 1 + 2 * count) return null;
    return parts
      .join('')
      .split('\n')
      .slice(1, 1 + 2 * count)
      .map(digits);
  };
}

/** NaN of everything else that makes a number in JavaScript, as `0x5`, `1e3` or nothing. */
export const digits = (text: string): number => (/^\d+$/.test(text) ? Number(text) : Number.NaN);

/** The parts that the numbers of a map describe. @throws E_BUNDLE_CORRUPT where they cannot be parts of the file */
export function extentsOf(numbers: readonly number[], size: number, stored: number, at: number): Extent[] {
  const extents: Extent[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    // Of a number without its other half no part can be made.
    extents.push({ offset: numbers[index] as number, length: numbers[index + 1] ?? Number.NaN });
  }
  return soundExtents(extents, size, stored, at);
}

export function soundExtents(extents: Extent[], size: number, stored: number, at: number): Extent[] {
  const sound = extents.every(
    ({ offset, length }) => Number.isSafeInteger(offset) && Number.isSafeInteger(length),
  );
  if (!sound || !Number.isSafeInteger(size) || size < 0 || size > MAX_SPARSE_BYTES) {
    throw corrupt(
      at,
      'sparse map',
      `whole numbers up to ${MAX_SPARSE_BYTES}`,
      `a real size of ${size} and malformed parts`,
    );
  }
  checkExtents(extents, size, stored, at);
  return extents;
}

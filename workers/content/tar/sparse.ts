import { readSync } from 'node:fs';
import { BLOCK, corrupt } from './header.ts';

/** A part of a file that is no hole. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

const PAGE = 4096;
const ZEROS = Buffer.alloc(256 * 1024);
/** Bounds the map of a pathological file: what follows is stored as one part, holes and all. */
const MAX_EXTENTS = 8192;

/**
 * The parts of an open file that hold data, found by reading (Node has no SEEK_HOLE); a page of zeros counts as hole.
 * So a file with holes is read twice, which costs little: holes are not on the disk.
 */
export function findExtents(fd: number, size: number, check: () => void): Extent[] {
  const extents: Extent[] = [];
  const buffer = Buffer.allocUnsafe(ZEROS.length);
  let open: number | null = null;
  for (let at = 0; at < size; ) {
    check();
    const length = readSync(fd, buffer, 0, Math.min(buffer.length, size - at), at);
    if (length === 0) break; // It shrank; the caller's second look at the file says so.
    for (let page = 0; page < length; page += PAGE) {
      const end = Math.min(page + PAGE, length);
      const hole = ZEROS.compare(buffer, page, end, 0, end - page) === 0;
      if (!hole) open ??= at + page;
      else if (open !== null && extents.length < MAX_EXTENTS) {
        extents.push({ offset: open, length: at + page - open });
        open = null;
      }
    }
    at += length;
  }
  if (open !== null) extents.push({ offset: open, length: size - open });
  return extents;
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
export function checkExtents(extents: readonly Extent[], size: number, stored: number, at: number): void {
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

/**
 * The beginning of a bundle of which no copy is kept: what is no file's data (headers, their extensions, maps of holes)
 * in a file beside the tree that is unpacked, lest it be asked for again after a kill. With the files of that tree it is
 * the bundle again, byte for byte (rebuild.ts).
 *
 *     <target>.headers    frames, only added to: length (4 bytes), place (8 bytes, a double), so many bytes (deflate)
 *
 * `place` is where in the bundle the last header of the frame ends. Padding is left out: it is zeros, or the digest of
 * the bundle says otherwise. Headers shrink to a thirtieth, at 330 MB/s on level 1, so those of a million files take
 * some 20 MB and 2 s.
 */
import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { readUpTo, sizeOfFile, writeFully } from '../files.ts';
import type { HeaderSink } from '../tar/source.ts';

/** A frame is written when so much of the bundle would come before the next one, or so much time has gone by: it would be redone. */
const EVERY_BYTES = 4 * 1024 * 1024;
const EVERY_MS = 10_000;
const HEAD_BYTES = 12;
/** No frame is larger: a header has no more than two extensions, of 1 MiB, and a map of 1 MiB; what waits is EVERY_BYTES at most. */
const MAX_FRAME_BYTES = 8 * 1024 * 1024;

export const headersPath = (target: string): string => `${target}.headers`;

export interface KeptHeaders {
  /** Of the bundle, up to the end of the last header. */
  readonly offset: number;
  /** Of the file: complete frames. */
  readonly bytes: number;
}

/** What an earlier attempt has noted; a frame that was cut short does not count. */
export function keptHeaders(target: string): KeptHeaders {
  const size = sizeOfFile(headersPath(target));
  let kept: KeptHeaders = { offset: 0, bytes: 0 };
  if (size === 0) return kept;
  const fd = openSync(headersPath(target), 'r');
  try {
    for (;;) {
      const head = frameAt(fd, kept.bytes);
      if (head === null || head.offset <= kept.offset || head.end > size) return kept;
      kept = { offset: head.offset, bytes: head.end };
    }
  } finally {
    closeSync(fd);
  }
}

/** Notes headers as they come by; those that an earlier attempt has noted are passed over. */
export class HeaderLog implements HeaderSink {
  readonly #path: string;
  readonly #fd: number;
  readonly #from: number;
  /** Of the header that is being read. */
  #fresh: Buffer[] = [];
  #pending: Buffer[] = [];
  #reached: number;
  #written: { offset: number; at: number };

  constructor(target: string) {
    const { offset, bytes } = keptHeaders(target);
    this.#path = headersPath(target);
    this.#fd = openSync(this.#path, 'a');
    ftruncateSync(this.#fd, bytes);
    this.#from = offset;
    this.#reached = offset;
    this.#written = { offset, at: performance.now() };
  }

  add(bytes: Buffer, offset: number): void {
    if (offset >= this.#from) this.#fresh.push(Buffer.from(bytes));
  }

  /** A header is complete. @param end where the data that follow it end */
  reached(offset: number, end: number): void {
    this.#pending.push(...this.#fresh);
    this.#fresh = [];
    if (offset <= this.#from) return;
    this.#reached = offset;
    const due = end - this.#written.offset >= EVERY_BYTES || performance.now() - this.#written.at >= EVERY_MS;
    if (due) this.#write();
  }

  /** Writes what waits; a header that is not complete is left out. */
  close(): void {
    try {
      this.#write();
    } catch {
      // It is read again; why this attempt ends is the one to tell.
    } finally {
      closeSync(this.#fd);
    }
  }

  #write(): void {
    if (this.#pending.length === 0) return;
    const body = deflateRawSync(Buffer.concat(this.#pending), { level: 1 });
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(body.length, 0);
    head.writeDoubleLE(this.#reached, 4);
    this.#pending = [];
    this.#written = { offset: this.#reached, at: performance.now() };
    writeFully(this.#fd, Buffer.concat([head, body]), this.#path);
  }
}

/** What the frames hold, one by one. @throws where a frame is damaged */
export function* readHeaders(target: string, { bytes }: KeptHeaders): Generator<Buffer, void, undefined> {
  if (bytes === 0) return;
  const fd = openSync(headersPath(target), 'r');
  try {
    for (let at = 0; at < bytes; ) {
      const head = frameAt(fd, at);
      if (head === null) return;
      const body = Buffer.allocUnsafe(head.length);
      readUpTo(fd, body, at + HEAD_BYTES);
      yield inflateRawSync(body, { maxOutputLength: MAX_FRAME_BYTES });
      at = head.end;
    }
  } finally {
    closeSync(fd);
  }
}

function frameAt(fd: number, at: number): { offset: number; length: number; end: number } | null {
  const head = Buffer.alloc(HEAD_BYTES);
  if (readSync(fd, head, 0, HEAD_BYTES, at) < HEAD_BYTES) return null;
  const length = head.readUInt32LE(0);
  const offset = head.readDoubleLE(4);
  if (length === 0 || length > MAX_FRAME_BYTES || !Number.isSafeInteger(offset)) return null;
  return { offset, length, end: at + HEAD_BYTES + length };
}

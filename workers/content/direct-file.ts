import { constants, statfsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { namingPath } from './files.ts';
import { FILE_SYSTEM } from './system-calls.ts';

/** Where direct writing was measured, or is documented to be sound. */
const FILE_SYSTEMS: ReadonlySet<number> = new Set([FILE_SYSTEM.ext4, FILE_SYSTEM.xfs]);
/** Written at once. 256 KiB took half as long again for the same bytes, 1 MiB a tenth; two writes at a time gained nothing. */
const CHUNK_BYTES = 4 * 1024 * 1024;
/** Address, place and length of a direct write are multiples of this; every logical block divides it. */
const ALIGNMENT = 4096;

/**
 * A file written from its beginning to its end, past the page cache where the file system can (open(2), O_DIRECT), while
 * the caller goes on. For what nobody reads soon: staging 2 GB in 2,000 files took 3.1 s instead of 6.6 s where memory
 * was full of cached pages and each new one had to be made free first, and as long as before where it was not. An archive
 * is not written so, since its bundle is read back soon: 2 GB were packed in 1.6 s instead of 2.5 s, and staged, from the
 * disk that is written to at the same time, in 5.3 s instead of 3.6 s. Nor are the large files of the staged tree: staging
 * took 4.7 s instead of 3.7 s with memory at hand, and 5 s instead of 7 s where each page had to be got first.
 *
 * One write is under way at a time: so a killed process leaves a beginning of the file, never a hole in it.
 */
export class DirectFile {
  readonly #path: string;
  readonly #file: FileHandle;
  #direct: FileHandle | null;
  #chunk = alignedChunk();
  #other = alignedChunk();
  #used = 0;
  /** Place in the file of the chunk's first byte. */
  #start: number;
  #underWay: Promise<void> = Promise.resolve();

  private constructor(path: string, kept: number, file: FileHandle, direct: FileHandle | null) {
    this.#path = path;
    this.#start = kept;
    this.#file = file;
    this.#direct = direct;
  }

  /** @param kept bytes of an existing file to go on behind; 0 makes the file anew */
  static async open(path: string, kept: number): Promise<DirectFile> {
    const file = await open(path, kept === 0 ? 'w' : 'r+', 0o644);
    try {
      return new DirectFile(path, kept, file, await openDirect(path));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The bytes are the caller's again when this resolves. Rejects with what an earlier write failed with, too. */
  async write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const length = bytes.copy(this.#chunk, this.#used, at, at + this.#room());
      this.#used += length;
      at += length;
      if (this.#room() === 0) await this.#out();
    }
  }

  /** After a beginning that is not aligned the first chunk is shorter, so that the next ones are. */
  #room(): number {
    return CHUNK_BYTES - (this.#start % ALIGNMENT) - this.#used;
  }

  async #out(): Promise<void> {
    await this.#underWay;
    this.#underWay = this.#put(this.#chunk.subarray(0, this.#used), this.#start);
    this.#underWay.catch(() => undefined); // Told by the next write, or by sync.
    this.#start += this.#used;
    this.#used = 0;
    [this.#chunk, this.#other] = [this.#other, this.#chunk];
  }

  async #put(bytes: Buffer, position: number): Promise<void> {
    const aligned = position % ALIGNMENT === 0 && bytes.length % ALIGNMENT === 0;
    if (this.#direct === null || !aligned) return this.#fully(this.#file, bytes, position);
    try {
      await this.#fully(this.#direct, bytes, position);
    } catch (error) {
      // Refused after all, or a full disk took an odd part: an ordinary write works, or says what is wrong.
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
      await this.#direct.close();
      this.#direct = null;
      await this.#fully(this.#file, bytes, position);
    }
  }

  async #fully(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const written = namingPath(this.#path, file.write(bytes, at, bytes.length - at, position + at));
      at += (await written).bytesWritten;
    }
  }

  /** All that was written is on the disk when this resolves. */
  async sync(): Promise<void> {
    if (this.#used > 0) await this.#out();
    await this.#underWay;
    await namingPath(this.#path, this.#file.sync());
  }

  async close(): Promise<void> {
    await this.#underWay.catch(() => undefined); // Said before, or given up with the file.
    await this.#direct?.close();
    await this.#file.close();
  }
}

/** A resizable buffer begins at a page of its own; an ordinary one of this size lies 16 bytes behind it. */
const alignedChunk = (): Buffer =>
  Buffer.from(new ArrayBuffer(CHUNK_BYTES, { maxByteLength: CHUNK_BYTES }), 0, CHUNK_BYTES);

async function openDirect(path: string): Promise<FileHandle | null> {
  if (!FILE_SYSTEMS.has(statfsSync(dirname(path)).type)) return null;
  try {
    return await open(path, constants.O_WRONLY | constants.O_DIRECT);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return null;
    throw error;
  }
}

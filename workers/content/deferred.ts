import { closeSync, openSync, readSync, unlinkSync } from 'node:fs';
import { writeFully } from './files.ts';

/** What remains to be done when all files are written. */
export interface DeferredEntry {
  readonly kind: 'directory' | 'symbolic link' | 'hard link';
  readonly path: string;
  readonly mode: number;
  readonly mtime: number;
  readonly target?: string;
}

/**
 * A list of entries that may be long (a million directories), so it lies in a file without a name: nothing is left
 * behind however the process ends. In memory stand eight bytes per entry.
 */
export class DeferredList {
  readonly #path: string;
  readonly #fd: number;
  #starts = new Float64Array(1024);
  #count = 0;
  #size = 0;
  #lines: string[] = [];
  #pending = 0;

  /** @param path a free name on the disk; the file is unlinked at once */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'wx+', 0o600);
    unlinkSync(path);
  }

  get count(): number {
    return this.#count;
  }

  add(entry: DeferredEntry): void {
    // The JSON is ASCII-safe in length only once encoded, so the size is that of the bytes.
    const line = JSON.stringify(entry);
    const length = Buffer.byteLength(line);
    if (this.#count + 1 >= this.#starts.length) {
      const larger = new Float64Array(this.#starts.length * 2);
      larger.set(this.#starts);
      this.#starts = larger;
    }
    this.#lines.push(line);
    this.#pending += length;
    this.#size += length;
    this.#count += 1;
    this.#starts[this.#count] = this.#size;
    if (this.#pending > 64 * 1024) this.#flush();
  }

  read(index: number): DeferredEntry {
    this.#flush();
    const start = this.#starts[index] as number;
    const bytes = Buffer.allocUnsafe((this.#starts[index + 1] as number) - start);
    readSync(this.#fd, bytes, 0, bytes.length, start);
    return JSON.parse(bytes.toString('utf8')) as DeferredEntry;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #flush(): void {
    if (this.#pending === 0) return;
    writeFully(this.#fd, Buffer.from(this.#lines.join('')), this.#path);
    this.#lines = [];
    this.#pending = 0;
  }
}

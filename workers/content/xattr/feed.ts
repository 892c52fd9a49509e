import { readSync } from 'node:fs';
import { comparePaths, decodePath } from '../path.ts';
import { ENDED, FAILED, type FeedSource, RUNNING } from './scan.ts';
import { isKept, type Xattrs } from './xattrs.ts';

const CHUNK_BYTES = 64 * 1024;
/** Between two looks at a scan that is behind: it takes a millisecond for 250 members. */
const NAP_MS = 1;

/** The answers of a scan, taken in the order of the walk. */
export class XattrFeed {
  /** Members whose attributes are too large to keep. */
  left_out = 0;
  readonly #source: FeedSource;
  readonly #state: Int32Array;
  readonly #check: () => void;
  readonly #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #text = '';
  #read = 0;
  /** All paths up to this one have been looked at; null: none yet. */
  #passed: string | null = null;
  #next: { readonly path: string; readonly xattrs: Xattrs | null } | null = null;
  #ended = false;

  /** @param check throws when the work is to be stopped */
  constructor(source: FeedSource, check: () => void) {
    this.#source = source;
    this.#state = new Int32Array(source.state);
    this.#check = check;
  }

  /** Attributes of a member that comes after all that were asked for before; null for none. */
  of(path: string): Xattrs | null {
    for (;;) {
      const next = this.#next;
      if (next !== null) {
        const order = comparePaths(next.path, path);
        if (order > 0) return null;
        this.#next = null; // Below the path: a name that has vanished since, which the walk tells.
        if (order === 0) return next.xattrs;
      } else {
        if (this.#ended || (this.#passed !== null && comparePaths(this.#passed, path) >= 0)) return null;
        this.#advance();
      }
    }
  }

  #advance(): void {
    const line = this.#line();
    if (line === null) {
      this.#ended = true;
      return;
    }
    const [head = '', ...fields] = line.split(' ');
    if (head.startsWith('@')) {
      this.#passed = pathOf(head.slice(1));
      return;
    }
    const large = fields[0] === '-';
    if (large) this.left_out += 1;
    this.#next = { path: pathOf(head), xattrs: large ? null : xattrsIn(fields) };
  }

  /** The next whole line; null at the end, also of a scan that failed: its last line may be a part of one. */
  #line(): string | null {
    for (;;) {
      const end = this.#text.indexOf('\n');
      if (end !== -1) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return line;
      }
      // Asked before the read: what is written between the two is read.
      const state = Atomics.load(this.#state, 0);
      if (state === FAILED) return null;
      const length = readSync(this.#source.fd, this.#chunk, 0, CHUNK_BYTES, this.#read);
      this.#read += length;
      this.#text += this.#chunk.toString('latin1', 0, length);
      if (length > 0) continue;
      if (state === ENDED) return null;
      this.#check();
      Atomics.wait(this.#state, 0, RUNNING, NAP_MS);
    }
  }
}

const pathOf = (hex: string): string => decodePath(Buffer.from(hex, 'hex'));

function xattrsIn(fields: readonly string[]): Xattrs {
  const pairs = fields.map((field) => {
    const [name = '', value = ''] = field.split('=', 2);
    return [pathOf(name), Buffer.from(value, 'hex').toString('base64')] as const;
  });
  return Object.fromEntries(pairs.filter(([name]) => isKept(name)));
}

import { closeSync, constants, fsyncSync, ftruncateSync, openSync, readSync } from 'node:fs';
import type { DigestName } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import { createHasher, type Digests } from './digest/digest.ts';
import { reading, writeFully } from './files.ts';
import { isHeader, isMember, isTrailer } from './manifest-shape.ts';
import type { Xattrs } from './xattr/xattrs.ts';

/**
 * The manifest of a dataset: every member with its digests and its place in the bundle, as lines of JSON.
 *
 *     {"longshore_manifest":1,"member_digests":["blake3"]}
 *     {"path":".","type":"directory",…}            one line per member, in the order of the walk and of the bundle
 *     {"end":true,"counts":{…},"bundle":{…},"body":"<blake3 of all lines above>"}
 *
 * Lines, not one document: a million members are written and read in a few hundred KB of memory. The last line makes
 * a manifest that was cut short or altered recognisable.
 */
export interface ManifestHeader {
  readonly longshore_manifest: 1;
  readonly member_digests: readonly DigestName[];
}

export interface ManifestMember {
  /** Relative, `.` for the root; undecodable bytes as lone surrogates (escaped `\udcNN` in the JSON). */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symbolic link';
  /** Of a file: its bytes. Of a link: its own size. */
  readonly size: number;
  readonly mode: number;
  /** Nanoseconds since 1970, as text, because a double cannot hold them. */
  readonly mtime: string;
  readonly digests?: Digests;
  /** Where the data of a file starts in the bundle. */
  readonly offset?: number;
  /** The data in the bundle is a GNU sparse 1.0 map and the parts that are no holes. */
  readonly sparse?: true;
  /** Extended attributes by name, values in base64. */
  readonly xattrs?: Xattrs;
  readonly target?: string;
  /** The same file under an earlier name: this line has its digests and the place of its data, the bundle a link. */
  readonly hard_link?: string;
  /** A link that led to a directory when it was archived: counted as one, as the reference does. */
  readonly to_directory?: true;
}

export interface ManifestCounts {
  /** Lines between header and trailer, the root included. */
  readonly members: number;
  /** Files and links that do not lead to directories. */
  readonly num_files: number;
  /** Directories and links to directories, without the root. */
  readonly num_directories: number;
  /** Of the files, logical sizes (holes included). */
  readonly bytes: number;
}

export interface ManifestTrailer {
  readonly end: true;
  readonly counts: ManifestCounts;
  readonly bundle: { readonly size: number; readonly digests: Digests };
  readonly body: string;
}

/** Read and written at once. */
export const CHUNK_BYTES = 128 * 1024;
/** A path and a link target of 4 KiB each, every byte escaped, fit well. A longer line is no manifest. */
const MAX_LINE_BYTES = 256 * 1024;

/** A manifest may be made in a scratch space, where others could have put a link in its place. */
const WRITING = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW;
const ANEW = WRITING | constants.O_TRUNC;
const GOING_ON = WRITING | constants.O_APPEND;

/** Writes header and members; the trailer follows by `endManifest`, when the bundle is complete. */
export class ManifestWriter {
  readonly #path: string;
  readonly #fd: number;
  readonly #body = createHasher(['blake3']);
  #lines: string[] = [];
  #pending = 0;
  #size = 0;
  #counts = { members: 0, num_files: 0, num_directories: 0, bytes: 0 };

  /** @param kept so many bytes are there already, and are told by `keep` before anything is added */
  constructor(path: string, member_digests: readonly DigestName[], kept = 0) {
    this.#path = path;
    this.#fd = openSync(path, kept > 0 ? GOING_ON : ANEW, 0o644);
    if (kept > 0) ftruncateSync(this.#fd, kept);
    if (kept > 0) return;
    const header: ManifestHeader = { longshore_manifest: 1, member_digests };
    this.#line(header);
  }

  add(member: ManifestMember): void {
    this.#line(member);
    this.#count(member);
  }

  /** A line that stands there already; without a member, the header. */
  keep(line: Buffer, member: ManifestMember | null): void {
    this.#body.update(line);
    this.#size += line.length;
    if (member !== null) this.#count(member);
  }

  /** Writes what is pending; gives the size, and the digest of the body up to there. */
  mark(): { manifest_bytes: number; body: string } {
    this.#flush();
    return { manifest_bytes: this.#size, body: this.#body.soFar().blake3 as string };
  }

  #count(member: ManifestMember): void {
    const counts = this.#counts;
    counts.members += 1;
    if (member.type === 'directory') counts.num_directories += member.path === '.' ? 0 : 1;
    else if (member.to_directory === true) counts.num_directories += 1;
    else counts.num_files += 1;
    if (member.type === 'file') counts.bytes += member.size;
  }

  /** Writes what is left. The manifest is not complete until `endManifest`. */
  close(): { counts: ManifestCounts; body: string } {
    this.#flush();
    closeSync(this.#fd);
    return { counts: this.#counts, body: this.#body.digests().blake3 as string };
  }

  abandon(): void {
    closeSync(this.#fd);
  }

  #line(value: unknown): void {
    const line = `${JSON.stringify(value)}\n`;
    this.#lines.push(line);
    this.#pending += line.length;
    if (this.#pending >= CHUNK_BYTES) this.#flush();
  }

  #flush(): void {
    const bytes = Buffer.from(this.#lines.join(''), 'utf8');
    this.#lines = [];
    this.#pending = 0;
    this.#body.update(bytes);
    this.#size += bytes.length;
    writeFully(this.#fd, bytes, this.#path);
  }
}

export function endManifest(path: string, trailer: Omit<ManifestTrailer, 'end'>): void {
  const fd = openSync(path, 'a');
  try {
    writeFully(fd, Buffer.from(`${JSON.stringify({ end: true, ...trailer })}\n`), path);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads a manifest line by line. `next()` gives null only after a complete, unaltered manifest; anything else throws
 * E_BUNDLE_CORRUPT with the line's number.
 */
export class ManifestReader {
  readonly path: string;
  readonly header: ManifestHeader;
  #trailer: ManifestTrailer | null = null;
  readonly #fd: number;
  readonly #body = createHasher(['blake3']);
  readonly #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #buffer = Buffer.alloc(0);
  #at = 0;
  #digested = 0;
  #line = 0;
  #open = true;

  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, 'r');
    try {
      const header = this.#parse(this.#nextLine());
      if (!isHeader(header)) throw this.#broken('does not start with a manifest header');
      this.header = header as unknown as ManifestHeader;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Known once `next()` has given null. */
  get trailer(): ManifestTrailer {
    if (this.#trailer === null) throw this.#broken('has not been read to its end');
    return this.#trailer;
  }

  next(): ManifestMember | null {
    if (this.#trailer !== null) return null;
    const line = this.#nextLine();
    const value = this.#parse(line);
    if (value.end === true) {
      if (!isTrailer(value)) throw this.#broken('is no end of a manifest');
      this.#finish(value as unknown as ManifestTrailer, line.length);
      return null;
    }
    if (!isMember(value)) throw this.#broken('is no member');
    return value as unknown as ManifestMember;
  }

  *members(): Generator<ManifestMember, void, undefined> {
    try {
      for (let member = this.next(); member !== null; member = this.next()) yield member;
    } finally {
      this.close();
    }
  }

  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  #finish(trailer: ManifestTrailer, length: number): void {
    this.#digestTo(this.#at - length);
    const read = this.#line - 2; // Without header and trailer.
    if (trailer.body !== this.#body.digests().blake3)
      throw this.#broken('ends with a digest that does not match');
    if (trailer.counts.members !== read)
      throw this.#broken(`ends ${trailer.counts.members} members, but has ${read}`);
    if (this.#at < this.#buffer.length || this.#fill() > 0) throw this.#broken('is not the last line');
    this.#trailer = trailer;
  }

  #nextLine(): Buffer {
    let end = this.#buffer.indexOf(10, this.#at);
    while (end === -1) {
      if (this.#buffer.length - this.#at > MAX_LINE_BYTES) throw this.#broken('is too long');
      if (this.#fill() === 0) throw this.#broken('is missing: the manifest was cut short');
      end = this.#buffer.indexOf(10, this.#at);
    }
    const line = this.#buffer.subarray(this.#at, end + 1);
    this.#at = end + 1;
    this.#line += 1;
    return line;
  }

  /** Digests what has been read of the buffer: by the chunk, since a call for each line costs more than the line. */
  #digestTo(end: number): void {
    this.#body.update(this.#buffer.subarray(this.#digested, end));
    this.#digested = end;
  }

  #fill(): number {
    this.#digestTo(this.#at);
    const length = reading(this.path, () => readSync(this.#fd, this.#chunk, 0, CHUNK_BYTES, null));
    const rest = this.#buffer.subarray(this.#at);
    this.#buffer = Buffer.concat([rest, this.#chunk.subarray(0, length)]);
    this.#at = 0;
    this.#digested = 0;
    return length;
  }

  #parse(line: Buffer): Record<string, unknown> {
    let value: unknown;
    try {
      value = JSON.parse(line.toString('utf8'));
    } catch (cause) {
      throw this.#broken('is no JSON', cause);
    }
    if (typeof value !== 'object' || value === null) throw this.#broken('is no JSON object');
    return value as Record<string, unknown>;
  }

  #broken(what: string, cause?: unknown): LongshoreError {
    const message = `line ${this.#line + 1} of manifest ${this.path} ${what}`;
    return new LongshoreError('E_BUNDLE_CORRUPT', message, {
      fields: { path: this.path, line: this.#line + 1, reason: what },
      cause,
    });
  }
}

/** Every member of a manifest; the end of the iteration proves it complete. */
export const readManifest = (path: string): Generator<ManifestMember, void, undefined> =>
  new ManifestReader(path).members();

/** Counts and bundle of a manifest, from its proven end: reads all of it. */
export function checkManifest(path: string): ManifestTrailer {
  const reader = new ManifestReader(path);
  try {
    while (reader.next() !== null);
    return reader.trailer;
  } finally {
    reader.close();
  }
}

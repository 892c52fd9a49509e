import { accessSync, constants } from 'node:fs';
import type { DigestName } from '../../config/index.ts';
import { type ByteSize, byteSize } from '../dataset/byte-size.ts';
import type { FileRow } from '../dataset/types.ts';
import type { Digests } from './digest/digest.ts';
import { DigestPool } from './digest/pool.ts';
import { fileRow } from './file-rows.ts';
import { InodeSet } from './inodes.ts';
import { fsPath, shownPath } from './path.ts';
import { tellsHoles } from './tar/holes.ts';
import {
  absolutePath,
  ENTRIES_PER_TURN,
  leadsToDirectory,
  type Member,
  resolveRoot,
  walkTree,
} from './walk.ts';

export interface InspectOptions {
  readonly root: string;
  /** Suffixes with their dots, as `.fastq.gz`. */
  readonly genome_file_types: readonly string[];
  /** Also read and digest every file. Without it the files are only looked at. */
  readonly digests?: readonly DigestName[];
  /** Receives the rows of files and links in batches. */
  onFiles?(rows: FileRow[]): Promise<void>;
  /** What is known of the named files: those that look the same keep their digests and are not read. */
  known?(paths: string[]): Promise<FileRow[]>;
  readonly batch_size?: number;
  readonly signal?: AbortSignal;
  /** `bytes`: of all items; with digests those that were read or needed no reading. */
  onProgress?(progress: { items: number; bytes: number }): void;
}

export interface Inspection {
  /** As `du -sb`: apparent sizes of everything, directories and the root included, hard links once. */
  readonly du_size: ByteSize;
  /** Of files and links, links with their own size. */
  readonly size: ByteSize;
  readonly num_files: number;
  /** Directories and links to directories; the root is not counted. */
  readonly num_directories: number;
  readonly num_genome_files: number;
  /** Of `size`: holes of files, as far as the file system tells them. */
  readonly hole_bytes: number;
  /** Files whose digests were known and kept. */
  readonly num_kept: number;
  /** What cannot be archived, as [path, reason]; at most 1,000 of them. */
  readonly problems: [string, string][];
  readonly num_problems: number;
}

const MAX_PROBLEMS = 1000;

/**
 * Looks at every member of a tree (spec 3.4). A link that leads nowhere is a member like any other: the bundle holds
 * the link, not its target. Sockets, FIFOs and devices are problems, as is everything that cannot be read.
 * @throws E_ORIGIN_MISSING
 */
export async function inspectTree(options: InspectOptions): Promise<Inspection> {
  const base = resolveRoot(options.root);
  const tally = new Tally(base, options.genome_file_types);
  const rows = new RowBatches(options);
  const tell = (): void => {
    const bytes = pool === null ? Number(tally.size) : rows.kept_bytes + pool.read;
    options.onProgress?.({ items: tally.items, bytes });
  };
  const pool =
    options.digests === undefined
      ? null
      : new DigestPool(base, options.digests, { signal: options.signal, onRead: tell });
  try {
    let entries = 0;
    const walk = walkTree(base, {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      onUnreadable: (path, error) => tally.problem(path, reasonOf(error)),
    });
    for (const member of walk) {
      const row = tally.add(member);
      // Before months are spent on reading what no row could tell.
      if (row !== null && pool !== null && !Number.isSafeInteger(row.size))
        tally.problem(member.path, 'is larger than 2^53 - 1 bytes');
      else if (row !== null) await rows.add(row, member, pool);
      if (++entries % ENTRIES_PER_TURN !== 0) continue;
      tell();
      await new Promise(setImmediate);
    }
    await rows.flush(pool);
    for (const [path, reason] of pool?.problems ?? []) tally.problem(path, reason);
    tell();
    return tally.result(rows.num_kept);
  } finally {
    await pool?.close();
  }
}

class Tally {
  size = 0n;
  items = 0;
  readonly #base: string;
  readonly #tells_holes: boolean;
  readonly #genome: ReadonlySet<string>;
  #du_size = 0n;
  #files = 0;
  #directories = 0;
  #genome_files = 0;
  #hole_bytes = 0;
  #num_problems = 0;
  readonly #problems: [string, string][] = [];
  /** Paths of the problems; of those that are only counted none is kept. */
  readonly #named = new Set<string>();
  /** Inodes that stand under several names. */
  readonly #seen = new InodeSet();

  constructor(base: string, genome_file_types: readonly string[]) {
    this.#base = base;
    this.#tells_holes = tellsHoles(base);
    this.#genome = new Set(genome_file_types);
  }

  /** The row that the catalog keeps, without digests, or null. */
  add(member: Member): FileRow | null {
    this.#weigh(member);
    if (member.path !== '.') this.items += 1;
    switch (member.type) {
      case 'directory':
        this.#access(member.path, constants.R_OK | constants.X_OK);
        if (member.path !== '.') this.#directories += 1;
        return null;
      case 'symbolic link':
        if (leadsToDirectory(this.#base, member.path)) {
          this.#directories += 1;
          return null;
        }
        return this.#file(member, 'symbolic link');
      case 'file':
        this.#access(member.path, constants.R_OK);
        if (this.#genome.has(joinedSuffixes(member.path))) this.#genome_files += 1;
        if (this.#tells_holes) this.#hole_bytes += Math.max(0, member.size - member.blocks * 512);
        return this.#file(member, 'file');
      case 'other':
        this.problem(member.path, 'is neither file, directory nor symbolic link');
        return null;
    }
  }

  /** Each path once: what may not be read is found by asking for it, by listing it and by reading it. */
  problem(path: string, reason: string): void {
    if (this.#named.has(path)) return;
    this.#num_problems += 1;
    if (this.#problems.length >= MAX_PROBLEMS) return;
    this.#named.add(path);
    this.#problems.push([shownPath(path), reason]);
  }

  result(num_kept: number): Inspection {
    return {
      du_size: byteSize(this.#du_size),
      size: byteSize(this.size),
      num_files: this.#files,
      num_directories: this.#directories,
      num_genome_files: this.#genome_files,
      hole_bytes: this.#hole_bytes,
      num_kept,
      problems: this.#problems,
      num_problems: this.#num_problems,
    };
  }

  #file(member: Member, type: FileRow['type']): FileRow {
    this.#files += 1;
    this.size += member.exact_size;
    return fileRow(member.path, type, member.size, {});
  }

  #weigh(member: Member): void {
    const known = member.nlink > 1 && member.type !== 'directory' && !this.#seen.add(member.dev, member.ino);
    if (known) return;
    this.#du_size += member.exact_size;
  }

  /** access(2) and not the mode bits: root squash, ACLs and read-only mounts decide otherwise. */
  #access(path: string, mode: number): void {
    try {
      accessSync(fsPath(absolutePath(this.#base, path)), mode);
    } catch (error) {
      const directory = (mode & constants.X_OK) !== 0;
      // A directory that cannot be listed is reported by the walk; one that cannot be entered by its members.
      if (directory && path !== '.' && (error as NodeJS.ErrnoException).code === 'EACCES') return;
      this.problem(path, reasonOf(error as NodeJS.ErrnoException));
    }
  }
}

/** Files that are looked up at once. */
const LOOKUP = 1000;

/** Rows wait here to be looked up, then for their digests, then for a full batch. */
class RowBatches {
  num_kept = 0;
  kept_bytes = 0;
  readonly #options: InspectOptions;
  readonly #batch_size: number;
  #asked: { row: FileRow; member: Member }[] = [];
  #rows: FileRow[] = [];

  constructor(options: InspectOptions) {
    this.#options = options;
    this.#batch_size = options.batch_size ?? 25_000;
  }

  async add(row: FileRow, member: Member, pool: DigestPool | null): Promise<void> {
    this.#rows.push(row);
    if (pool !== null && row.type === 'file') {
      row.fingerprint = fingerprintOf(member);
      this.#asked.push({ row, member });
      if (this.#asked.length >= LOOKUP) await this.#digest(pool);
    }
    if (this.#rows.length >= this.#batch_size) await this.flush(pool);
  }

  async flush(pool: DigestPool | null): Promise<void> {
    if (pool !== null) await this.#digest(pool);
    await pool?.settle();
    if (this.#rows.length === 0) return;
    const rows = this.#rows;
    this.#rows = [];
    await this.#options.onFiles?.(rows);
  }

  /** Of those that look as they did the digests stay; the others are read. */
  async #digest(pool: DigestPool): Promise<void> {
    const asked = this.#asked;
    this.#asked = [];
    if (asked.length === 0) return;
    const found = (await this.#options.known?.(asked.map(({ row }) => row.path))) ?? [];
    const known = new Map(found.map((row) => [row.path, row]));
    const names = this.#options.digests ?? [];
    for (const { row, member } of asked) {
      const before = known.get(row.path);
      const same = before?.size === row.size && before.fingerprint === row.fingerprint;
      if (same && names.every((name) => before.digests[name] !== undefined)) {
        setDigests(row, Object.fromEntries(names.map((name) => [name, before.digests[name] ?? ''])));
        this.num_kept += 1;
        this.kept_bytes += row.size;
      } else await pool.add(member.path, member.size, (digests) => setDigests(row, digests));
    }
  }
}

/** A file that was written, replaced or moved has another one; so has one whose time was set back. */
const fingerprintOf = ({ ino, mtime_ns, ctime_ns }: Member): string => `${ino}:${mtime_ns}:${ctime_ns}`;

function setDigests(row: FileRow, digests: Digests): void {
  row.digests = digests;
  row.md5 = digests.md5 ?? null;
}

/**
 * All suffixes of a name joined, by the rules of Python's pathlib: leading dots are no suffix, a name that ends in a
 * dot has none. So `a.fastq.gz` has `.fastq.gz`, `s.R1.fastq.gz` has `.R1.fastq.gz`, and `.bam` has none.
 */
export function joinedSuffixes(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (name.endsWith('.')) return '';
  const bare = name.replace(/^\.+/, '');
  const dot = bare.indexOf('.');
  return dot === -1 ? '' : bare.slice(dot);
}

function reasonOf(error: NodeJS.ErrnoException): string {
  const known: Readonly<Record<string, string>> = {
    EACCES: 'cannot be read: permission denied',
    EPERM: 'cannot be read: operation not permitted',
    ENAMETOOLONG: 'cannot be read: its path is too long',
  };
  return known[error.code ?? ''] ?? `cannot be read: ${error.message}`;
}

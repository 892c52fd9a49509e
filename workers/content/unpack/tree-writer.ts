import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  ftruncateSync,
  futimesSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { LongshoreError } from '../../errors.ts';
import { type DeferredEntry, DeferredList } from '../deferred.ts';
import { KeptFile } from './kept-file.ts';
import { decodePath, fsPath, leadsOut, linkEscapes, unsafe } from '../path.ts';
import { settable } from '../times.ts';
import { absolutePath } from '../walk.ts';
import { XattrWriter } from '../xattr/restore.ts';
import type { Xattrs } from '../xattr/xattrs.ts';

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

const TWICE = 'stands twice in it';
const ABSENT = 'is a hard link to a file that the bundle does not hold';

/**
 * Writes the members of an untrusted bundle below a fresh directory that nobody else writes to.
 *
 * While files are written the tree holds directories and files only: links are kept back until all files stand, so no
 * member can be written through one, whatever their order in the bundle (Node has no openat to check it step by step).
 * Directories get their modes and times last, deepest first: a directory may be read-only, and each entry made in it
 * changes its time.
 */
export class TreeWriter {
  readonly #root: string;
  readonly #deferred: DeferredList;
  readonly #xattrs: XattrWriter;
  readonly #umask = process.umask();
  readonly #adopt: boolean;
  readonly #replace: boolean;
  /** Where the dataset begins in an untrusted bundle. */
  #dataset: string | null = null;
  /** What later members of the same name took the place of. */
  readonly replaced = { members: 0, bytes: 0 };

  /**
   * @param how `adopt`: the directory may hold what an earlier attempt at the same bundle has written; `replace`: a later
   * file takes the place of an earlier one of the same name, as in an appended tar
   */
  constructor(root: string, how: { adopt: boolean; replace: boolean } = { adopt: false, replace: false }) {
    this.#root = root;
    this.#adopt = how.adopt;
    this.#replace = how.replace;
    this.#deferred = new DeferredList(`${root}.deferred`);
    this.#xattrs = new XattrWriter(root);
  }

  directory(path: string, mode: number, mtime: number): void {
    if (path !== '.') {
      const full = fsPath(absolutePath(this.#root, path));
      this.#within(path, () => {
        try {
          mkdirSync(full, 0o700);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
          if (!lstatSync(full).isDirectory())
            throw unsafe(path, 'is a directory where another member is a file');
        }
      });
    }
    // setgid and sticky are how facilities share folders; setuid means nothing on a directory.
    this.#deferred.add({ kind: 'directory', path, mode: mode & 0o3777, mtime });
  }

  /** Opens a new file. That there is one of its name is told by the file system, which no list of a million names is needed for. */
  create(path: string, mode: number): number {
    const full = fsPath(absolutePath(this.#root, path));
    // Without setuid and setgid: a bundle from elsewhere must not bring programs that run as us.
    const bits = mode & 0o777;
    const fd = this.#within(path, () => {
      try {
        return openSync(full, CREATE, bits);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        const there = lstatSync(full);
        if (there.isDirectory()) throw unsafe(path, 'is a file where another member is a directory');
        if (!this.#replace) throw unsafe(path, TWICE);
        this.replaced.members += 1;
        this.replaced.bytes += there.size;
        unlinkSync(full);
        return openSync(full, CREATE, bits);
      }
    });
    if ((bits & this.#umask) !== 0) fchmodSync(fd, bits);
    return fd;
  }

  /**
   * A file that an earlier attempt may have begun: open for reading and writing at its place, or new. What is there is
   * compared with what comes, and written only from the first difference on.
   */
  resume(path: string, mode: number): { fd: number; kept: KeptFile | null } {
    const full = fsPath(absolutePath(this.#root, path));
    const before = this.#adopt ? lstatSync(full, { throwIfNoEntry: false }) : undefined;
    if (before === undefined) return { fd: this.create(path, mode), kept: null };
    if (!before.isFile()) {
      if (!before.isDirectory()) unlinkSync(full);
      return { fd: this.create(path, mode), kept: null }; // A directory in its place is refused there.
    }
    if (before.nlink > 1) {
      unlinkSync(full); // Its other name may be another member's.
      return { fd: this.create(path, mode), kept: null };
    }
    chmodSync(full, 0o600);
    const fd = openSync(full, constants.O_RDWR | constants.O_NOFOLLOW);
    fchmodSync(fd, mode & 0o777);
    return { fd, kept: new KeptFile(fd, before.size) };
  }

  write(fd: number, path: string, bytes: Buffer, position: number | null): void {
    try {
      for (let at = 0; at < bytes.length; ) {
        at += writeSync(fd, bytes, at, bytes.length - at, position === null ? null : position + at);
      }
    } catch (error) {
      throw Object.assign(error as NodeJS.ErrnoException, { path: absolutePath(this.#root, path) });
    }
  }

  /** @param size set when the file may end in a hole */
  finish(fd: number, mtime: number, size: number | null): void {
    if (size !== null) lengthen(fd, size);
    futimesSync(fd, settable(mtime), settable(mtime));
    closeSync(fd);
  }

  symbolicLink(path: string, target: string, mtime: number): void {
    if (target === '' || target.includes('\0')) throw unsafe(path, 'is a link without a possible target');
    this.#deferred.add({ kind: 'symbolic link', path, mode: 0o777, mtime, target });
  }

  hardLink(path: string, target: string): void {
    this.#deferred.add({ kind: 'hard link', path, mode: 0, mtime: 0, target });
  }

  /** Of a file or directory; set when all of them stand. */
  xattrs(path: string, xattrs: Xattrs | null): void {
    if (xattrs !== null) this.#xattrs.add(path, xattrs);
  }

  /**
   * Sets what was kept back, makes the links, then finishes the directories. What could not be done, or null.
   * @param dataset the folder that all members share, which is published without those above it: what was inside of the
   * bundle may be outside of it. null: the manifest proves the links
   */
  complete(check: () => void, dataset: string | null = null): string | null {
    this.#dataset = dataset;
    const failure = this.#xattrs.set(); // No symbolic link is there yet that a path could lead through.
    // Hard links first: with no symbolic link in the tree, their targets cannot lead outside either.
    const late: number[] = [];
    for (const [entry, index] of this.#entries('hard link', check)) if (!this.#link(entry)) late.push(index);
    // All parents stand before the first symbolic link does: a link whose parent is to be one of them (`a/b` is a link
    // to `..`, then comes `a/b/c`) would be made wherever that one leads, and finds its place taken instead.
    for (const [entry] of this.#entries('symbolic link', check)) this.#parents(entry.path);
    for (const [entry] of this.#entries('symbolic link', check)) this.#link(entry);
    for (const index of late) this.#linkOfLink(this.#deferred.read(index));
    for (const [entry] of this.#entries('directory', check)) {
      const full = fsPath(absolutePath(this.#root, entry.path));
      utimesSync(full, settable(entry.mtime), settable(entry.mtime));
      chmodSync(full, entry.mode);
    }
    return failure;
  }

  /** In the order of the bundle, directories backwards: deepest first. */
  *#entries(kind: DeferredEntry['kind'], check: () => void): Generator<[DeferredEntry, index: number]> {
    const { count } = this.#deferred;
    for (let step = 0; step < count; step++) {
      if (step % 1024 === 0) check();
      const index = kind === 'directory' ? count - 1 - step : step;
      const entry = this.#deferred.read(index);
      if (entry.kind === kind) yield [entry, index];
    }
  }

  close(): void {
    this.#xattrs.close();
    this.#deferred.close();
  }

  /** False: a hard link to what is not there; it may be a symbolic link that is yet to be made. */
  #link(entry: DeferredEntry): boolean {
    const target = entry.target ?? '';
    if (entry.kind === 'symbolic link') this.#assertInside(entry.path, target);
    const full = fsPath(absolutePath(this.#root, entry.path));
    try {
      this.#within(entry.path, () => {
        if (this.#adopt && lstatSync(full, { throwIfNoEntry: false })?.isDirectory() === false)
          unlinkSync(full);
        if (entry.kind === 'symbolic link') symlinkSync(fsPath(target), full);
        else linkSync(fsPath(absolutePath(this.#root, target)), full);
      });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST' && this.#repeats(entry, full)) {
        if (!this.#replace) throw unsafe(entry.path, TWICE);
        this.replaced.members += 1;
        return true;
      }
      if (code === 'EEXIST') throw unsafe(entry.path, `is a ${entry.kind} where another member stands`);
      if (code === 'ENOENT' && entry.kind === 'hard link') return false;
      if (code === 'EPERM' && lstatSync(fsPath(absolutePath(this.#root, target))).isDirectory())
        throw unsafe(entry.path, 'is a hard link to a directory');
      throw error;
    }
    if (entry.kind === 'symbolic link') lutimesSync(full, settable(entry.mtime), settable(entry.mtime));
    return true;
  }

  /** A name more of a symbolic link, as GNU tar and bsdtar store one: from its own place it must not lead out either. */
  #linkOfLink(entry: DeferredEntry): void {
    const text = this.#linkText(entry.target ?? '');
    if (text === null) throw unsafe(entry.path, ABSENT);
    this.#assertInside(entry.path, text);
    if (!this.#link(entry)) throw unsafe(entry.path, ABSENT);
  }

  #assertInside(path: string, target: string): void {
    const above = this.#dataset;
    if (above !== null && linkEscapes(above === '.' ? path : path.slice(above.length + 1), target))
      throw leadsOut(path, target);
  }

  /** Where a symbolic link leads; null: there is none, or only by way of another one. */
  #linkText(path: string): string | null {
    const names = path.split('/');
    for (let count = 1; count < names.length; count++) {
      const folder = fsPath(absolutePath(this.#root, names.slice(0, count).join('/')));
      if (lstatSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return null;
    }
    const full = fsPath(absolutePath(this.#root, path));
    if (lstatSync(full, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return null;
    return decodePath(readlinkSync(full, { encoding: 'buffer' }));
  }

  /** A link that was appended once more, as when the same folder is added to a tar twice. */
  #repeats(entry: DeferredEntry, full: string | Buffer): boolean {
    const target = fsPath(entry.target ?? '');
    const standing = lstatSync(full);
    if (entry.kind === 'hard link')
      return standing.ino === lstatSync(fsPath(absolutePath(this.#root, entry.target ?? ''))).ino;
    return (
      standing.isSymbolicLink() && readlinkSync(full, { encoding: 'buffer' }).equals(Buffer.from(target))
    );
  }

  #parents(path: string): void {
    this.#refusing(path, () => {
      mkdirSync(fsPath(absolutePath(this.#root, dirname(path))), { recursive: true, mode: 0o755 });
    });
  }

  /** Runs `make`; when the parents are missing (a bundle without directory members), makes them and tries again. */
  #within<T>(path: string, make: () => T): T {
    return this.#refusing(path, () => {
      try {
        return make();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        this.#parents(path);
        return make();
      }
    });
  }

  /** Says of the bundle what the kernel says of a path. */
  #refusing<T>(path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOTDIR') throw unsafe(path, 'lies below a member that is no directory');
      if (code !== 'ENAMETOOLONG') throw error;
      throw new LongshoreError('E_BUNDLE_UNSAFE', `member "${path.slice(0, 200)}…" has too long a path`, {
        hint: `No name may have more than 255 bytes, no path more than 4095 with that of the folder it is staged in (${this.#root}). If only the path is too long, point the stage path to a shorter one, then stage again.`,
        cause: error,
      });
    }
  }
}

/** What a file system cannot hold may have cost its maker nothing: a hole of a petabyte. */
function lengthen(fd: number, size: number): void {
  try {
    ftruncateSync(fd, size);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EFBIG') throw error;
    throw new LongshoreError('E_NO_SPACE', `the bundle holds a file of ${size} bytes with holes`, {
      fields: { size },
      hint: 'No file can be so large on this file system. If the bundle is what it should be, point the stage path elsewhere, then resume.',
      cause: error,
    });
  }
}

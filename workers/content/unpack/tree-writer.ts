import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  ftruncateSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { LongshoreError } from '../../errors.ts';
import { type DeferredEntry, DeferredList } from '../deferred.ts';
import { KeptFile } from './kept-file.ts';
import { Links, TWICE } from './links.ts';
import { Places } from './places.ts';
import { unsafe } from '../path.ts';
import { settable } from '../times.ts';
import { absolutePath } from '../walk.ts';
import { XattrWriter } from '../xattr/restore.ts';
import type { Xattrs } from '../xattr/xattrs.ts';

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

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
  readonly #places: Places;
  readonly #deferred: DeferredList;
  readonly #xattrs: XattrWriter;
  readonly #umask = process.umask();
  readonly #adopt: boolean;
  readonly #replace: boolean;
  /** What later members of the same name took the place of. */
  readonly replaced = { members: 0, bytes: 0 };

  /**
   * @param how `adopt`: the directory may hold what an earlier attempt at the same bundle has written; `replace`: a later
   * file takes the place of an earlier one of the same name, as in an appended tar
   */
  constructor(root: string, how: { adopt: boolean; replace: boolean } = { adopt: false, replace: false }) {
    this.#root = root;
    this.#places = new Places(root);
    this.#adopt = how.adopt;
    this.#replace = how.replace;
    this.#deferred = new DeferredList(`${root}.deferred`);
    this.#xattrs = new XattrWriter(root);
  }

  directory(path: string, mode: number, mtime: number): void {
    if (path !== '.') {
      const full = this.#places.at(path);
      this.#places.within(path, () => {
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
    const full = this.#places.at(path);
    // Without setuid and setgid: a bundle from elsewhere must not bring programs that run as us.
    const bits = mode & 0o777;
    const fd = this.#places.within(path, () => {
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
    const full = this.#places.at(path);
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
    const links = new Links(this.#places, dataset, {
      adopt: this.#adopt,
      replace: this.#replace,
      onReplaced: () => {
        this.replaced.members += 1;
      },
    });
    const failure = this.#xattrs.set(); // No symbolic link is there yet that a path could lead through.
    // Hard links first: with no symbolic link in the tree, their targets cannot lead outside either.
    const late: number[] = [];
    for (const [entry, index] of this.#entries('hard link', check)) if (!links.make(entry)) late.push(index);
    // All parents stand before the first symbolic link does: a link whose parent is to be one of them (`a/b` is a link
    // to `..`, then comes `a/b/c`) would be made wherever that one leads, and finds its place taken instead.
    for (const [entry] of this.#entries('symbolic link', check)) this.#places.parents(entry.path);
    for (const [entry] of this.#entries('symbolic link', check)) links.make(entry);
    for (const index of late) links.makeOfLink(this.#deferred.read(index));
    for (const [entry] of this.#entries('directory', check)) {
      const full = this.#places.at(entry.path);
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

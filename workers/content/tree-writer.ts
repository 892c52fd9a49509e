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
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { LongshoreError } from '../errors.ts';
import { type DeferredEntry, DeferredList } from './deferred.ts';
import { fsPath, unsafe } from './path.ts';
import { absolutePath } from './walk.ts';

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
  readonly #deferred: DeferredList;
  readonly #umask = process.umask();

  constructor(root: string) {
    this.#root = root;
    this.#deferred = new DeferredList(`${root}.deferred`);
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

  /** Opens a new file; a later member of the same name replaces the earlier one, as in an appended tar. */
  create(path: string, mode: number): number {
    const full = fsPath(absolutePath(this.#root, path));
    // Without setuid and setgid: a bundle from elsewhere must not bring programs that run as us.
    const bits = mode & 0o777;
    const fd = this.#within(path, () => {
      try {
        return openSync(full, CREATE, bits);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        if (lstatSync(full).isDirectory())
          throw unsafe(path, 'is a file where another member is a directory');
        unlinkSync(full);
        return openSync(full, CREATE, bits);
      }
    });
    if ((bits & this.#umask) !== 0) fchmodSync(fd, bits);
    return fd;
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
    if (size !== null) ftruncateSync(fd, size);
    // Doubles of seconds: times are kept to a quarter of a microsecond, which is all that Node can set.
    futimesSync(fd, mtime, mtime);
    closeSync(fd);
  }

  symbolicLink(path: string, target: string, mtime: number): void {
    if (target === '' || target.includes('\0')) throw unsafe(path, 'is a link without a possible target');
    this.#deferred.add({ kind: 'symbolic link', path, mode: 0o777, mtime, target });
  }

  hardLink(path: string, target: string): void {
    this.#deferred.add({ kind: 'hard link', path, mode: 0, mtime: 0, target });
  }

  /** Makes the links, then finishes the directories. */
  complete(check: () => void): void {
    const list = this.#deferred;
    // Hard links first: with no symbolic link in the tree, their targets cannot lead outside either.
    for (const kind of ['hard link', 'symbolic link'] as const) {
      for (let index = 0; index < list.count; index++) {
        if (index % 1024 === 0) check();
        const entry = list.read(index);
        if (entry.kind === kind) this.#link(entry);
      }
    }
    for (let index = list.count - 1; index >= 0; index--) {
      if (index % 1024 === 0) check();
      const entry = list.read(index);
      if (entry.kind !== 'directory') continue;
      const full = fsPath(absolutePath(this.#root, entry.path));
      utimesSync(full, entry.mtime, entry.mtime);
      chmodSync(full, entry.mode);
    }
  }

  close(): void {
    this.#deferred.close();
  }

  #link(entry: DeferredEntry): void {
    const target = entry.target ?? '';
    const full = fsPath(absolutePath(this.#root, entry.path));
    try {
      this.#within(entry.path, () => {
        if (entry.kind === 'symbolic link') symlinkSync(fsPath(target), full);
        else linkSync(fsPath(absolutePath(this.#root, target)), full);
      });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') throw unsafe(entry.path, `is a ${entry.kind} where another member stands`);
      if (code === 'ENOENT')
        throw unsafe(entry.path, 'is a hard link to a file that the bundle does not hold');
      throw error;
    }
    if (entry.kind === 'symbolic link') lutimesSync(full, entry.mtime, entry.mtime);
  }

  /** Runs `make`; when the parents are missing (a bundle without directory members), makes them and tries again. */
  #within<T>(path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOTDIR') throw unsafe(path, 'lies below a member that is no directory');
      if (code === 'ENAMETOOLONG') {
        throw new LongshoreError('E_BUNDLE_UNSAFE', `member "${path.slice(0, 200)}…" has too long a path`, {
          cause: error,
        });
      }
      if (code !== 'ENOENT') throw error;
      mkdirSync(fsPath(absolutePath(this.#root, dirname(path))), { recursive: true, mode: 0o755 });
      return make();
    }
  }
}

import { type BigIntStats, lstatSync, readdirSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { assertOwnLink } from '../dataset/own-link.ts';
import { LongshoreError } from '../errors.ts';
import { Beneath } from './beneath.ts';
import { decodeLatin1, fsPath, shownPath } from './path.ts';

export type MemberType = 'file' | 'directory' | 'symbolic link' | 'other';

/** One entry of a tree. */
export interface Member {
  /** Relative, `/` between names, undecodable bytes as lone surrogates; `.` is the root itself. */
  readonly path: string;
  readonly type: MemberType;
  /** Rounded beyond 2^53 - 1, see `exact_size`. */
  readonly size: number;
  readonly exact_size: bigint;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly mtime_ns: bigint;
  readonly ctime_ns: bigint;
  readonly uid: number;
  readonly gid: number;
  readonly dev: bigint;
  readonly ino: bigint;
  readonly nlink: number;
  /** Of 512 bytes; less than the size needs means that the file has holes. */
  readonly blocks: number;
  /** Of a symbolic link. */
  readonly target: string | null;
}

/** Entries of a walk between two turns of the event loop: about 10 ms. */
export const ENTRIES_PER_TURN = 1000;

export interface WalkOptions {
  readonly signal?: AbortSignal;
  /** A directory that cannot be listed, or an entry that cannot be looked at. Default: throws. */
  onUnreadable?(path: string, error: NodeJS.ErrnoException): void;
  /** An entry that was listed and is gone. Default: throws E_SOURCE_CHANGED. */
  onVanished?(path: string): void;
}

/**
 * Every member below `root`, the root first, depth first, names in byte order. Links are never followed (the root
 * itself may be one), also where a folder is swapped for one meanwhile. Holds one list of names per level, never the tree:
 * order needs the whole list of a directory, and `opendir` would give it in the file system's own order, which differs
 * between two copies of one tree. It keeps folders open until it is returned from.
 */
export function* walkTree(root: string, options: WalkOptions = {}): Generator<Member, void, undefined> {
  const base = resolveRoot(root);
  const beneath = openRoot(root, base);
  try {
    yield* membersBelow({ base, beneath, options });
  } finally {
    beneath.close();
  }
}

interface Walk {
  readonly base: string;
  readonly beneath: Beneath;
  readonly options: WalkOptions;
}

function* membersBelow(walk: Walk): Generator<Member, void, undefined> {
  const stack: { prefix: string; names: string[]; next: number }[] = [];
  const enter = (path: string): void => {
    const names = listDirectory(walk, path);
    if (names.length > 0) stack.push({ prefix: path === '.' ? '' : `${path}/`, names, next: 0 });
  };
  const top = look(walk, '.');
  if (top === null) throw originMissing(walk.base);
  yield top;
  enter('.');
  for (let level = stack.at(-1); level !== undefined; level = stack.at(-1)) {
    const name = level.names[level.next++];
    if (name === undefined) {
      stack.pop();
      continue;
    }
    walk.options.signal?.throwIfAborted();
    const member = look(walk, level.prefix + decodeLatin1(name));
    if (member === null) continue;
    yield member;
    if (member.type === 'directory') enter(member.path);
  }
}

/**
 * The real path of the root of a walk.
 * @throws E_ORIGIN_MISSING when there is no such directory, E_ORIGIN_FOREIGN when it is a link to somebody else's
 */
export function resolveRoot(root: string): string {
  try {
    const base = realpathSync(root);
    if (lstatSync(base).isDirectory()) {
      assertOwnLink(root);
      return base;
    }
  } catch (error) {
    if (['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw originClosed(root, error);
    if (!isVanished(error)) throw error;
  }
  throw originMissing(root);
}

export const absolutePath = (base: string, path: string): string => (path === '.' ? base : `${base}/${path}`);

/** Of a link: whether it counts as a directory, as in the reference. It is never entered. */
export function leadsToDirectory(base: string, path: string): boolean {
  try {
    return statSync(fsPath(absolutePath(base, path)), { throwIfNoEntry: false })?.isDirectory() === true;
  } catch {
    return false; // A loop, or a place that may not be looked at: the link itself is still archived.
  }
}

function openRoot(root: string, base: string): Beneath {
  try {
    return new Beneath(base);
  } catch (error) {
    throw isVanished(error) ? originMissing(root) : error;
  }
}

function listDirectory({ base, beneath, options }: Walk, path: string): string[] {
  try {
    // One character per byte: the default order of strings is then the order of bytes.
    return readdirSync(beneath.folder(path), 'latin1').sort();
  } catch (error) {
    report(base, path, beneath.named(error, path), options);
    return [];
  }
}

function look({ base, beneath, options }: Walk, path: string): Member | null {
  try {
    const at = beneath.at(path);
    // bigint: a double holds nanoseconds since 1970 only to 240 ns, and inode numbers only to 2^53.
    const stats = path === '.' ? statSync(at, { bigint: true }) : lstatSync(at, { bigint: true });
    return toMember(path, stats, stats.isSymbolicLink() ? decodeLatin1(readlinkSync(at, 'latin1')) : null);
  } catch (error) {
    report(base, path, beneath.named(error, path), options);
    return null;
  }
}

export function toMember(path: string, stats: BigIntStats, target: string | null): Member {
  return {
    path,
    type: typeOf(stats),
    size: Number(stats.size),
    exact_size: stats.size,
    mode: Number(stats.mode) & 0o7777,
    mtime_ns: stats.mtimeNs,
    ctime_ns: stats.ctimeNs,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    dev: stats.dev,
    ino: stats.ino,
    nlink: Number(stats.nlink),
    blocks: Number(stats.blocks),
    target,
  };
}

function typeOf(stats: BigIntStats): MemberType {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symbolic link' : 'other';
}

function report(base: string, path: string, error: NodeJS.ErrnoException, options: WalkOptions): void {
  if (isVanished(error)) {
    resolveRoot(base); // The whole origin gone is another message than one file gone.
    if (options.onVanished === undefined) throw vanished(path);
    options.onVanished(path);
  } else if (options.onUnreadable !== undefined && isRefusal(error)) {
    options.onUnreadable(path, error);
  } else {
    throw error;
  }
}

export const isVanished = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Refused for this entry, not a broken file system. */
const isRefusal = (error: NodeJS.ErrnoException): boolean =>
  ['EACCES', 'EPERM', 'ENAMETOOLONG', 'ELOOP'].includes(error.code ?? '');

export function vanished(path: string): LongshoreError {
  return new LongshoreError('E_SOURCE_CHANGED', `"${shownPath(path)}" vanished while the dataset was read`, {
    fields: { path: shownPath(path), reason: 'vanished' },
  });
}

function originClosed(root: string, cause: unknown): LongshoreError {
  return new LongshoreError('E_INSPECTION', `${root} cannot be reached: permission denied`, {
    fields: { problems: [['.', 'cannot be reached: permission denied']], total: 1 },
    cause,
  });
}

function originMissing(root: string): LongshoreError {
  return new LongshoreError('E_ORIGIN_MISSING', `there is no directory at ${root}`, {
    fields: { path: root },
  });
}

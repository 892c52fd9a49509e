import { isUtf8 } from 'node:buffer';
import { LongshoreError } from '../errors.ts';

/**
 * Paths inside a dataset are strings, although file names are bytes. A byte that is no UTF-8 travels as the lone
 * surrogate U+DC00 + byte, as in Python's surrogateescape: the string can be compared, kept in JSON and turned back
 * into the same bytes. Only names that hold such a byte pay for it; all others go to `fs` as they are.
 */

/** What `fs` calls take: the string where it is well formed, else its bytes. */
export function fsPath(path: string): string | Buffer {
  return path.isWellFormed() ? path : encodePath(path);
}

/** The bytes that the kernel knows this path by. */
export function encodePath(path: string): Buffer {
  if (path.isWellFormed()) return Buffer.from(path, 'utf8');
  const parts: Buffer[] = [];
  let start = 0;
  for (let at = 0; at < path.length; at++) {
    const unit = path.charCodeAt(at);
    if (unit >= 0xd800 && unit < 0xdc00) {
      at++; // High half of a pair; a lone high half is never produced by decodePath.
    } else if (unit >= 0xdc80 && unit <= 0xdcff) {
      parts.push(Buffer.from(path.slice(start, at), 'utf8'), Buffer.of(unit & 0xff));
      start = at + 1;
    }
  }
  parts.push(Buffer.from(path.slice(start), 'utf8'));
  return Buffer.concat(parts);
}

/** The string form of a path's bytes. */
export function decodePath(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes[at] as number);
    const sequence = bytes.subarray(at, at + length);
    if (sequence.length === length && isUtf8(sequence)) {
      text += sequence.toString('utf8');
      at += length;
    } else {
      text += String.fromCharCode(0xdc00 + (bytes[at] as number));
      at += 1;
    }
  }
  return text;
}

const NOT_ASCII = /[^\0-\x7f]/;

/** As decodePath, from the one-character-per-byte form in which directories are read and sorted. */
export function decodeLatin1(name: string): string {
  return NOT_ASCII.test(name) ? decodePath(Buffer.from(name, 'latin1')) : name;
}

function sequenceLength(lead: number): number {
  if (lead < 0xc0) return 1;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}

/**
 * How a path is shown and kept in the catalog: undecodable bytes as `\xNN`. A name that spells out such an escape has
 * its backslash written `\x5c`, so that two different names never share a row.
 */
export function shownPath(path: string): string {
  const escaped = path.includes('\\x') ? path.replace(/\\(?=x[0-9a-f]{2})/g, '\\x5c') : path;
  if (escaped.isWellFormed()) return escaped;
  return escaped.replace(
    /[\udc80-\udcff]/gu,
    (unit) => `\\x${(unit.charCodeAt(0) & 0xff).toString(16).padStart(2, '0')}`,
  );
}

/** Order of the walk and of the manifest: name by name in byte order, a directory before what it holds. */
export function comparePaths(a: string, b: string): number {
  if (a === b) return 0;
  if (a === '.' || b === '.') return a === '.' ? -1 : 1;
  // UTF-16 order equals byte order below the surrogates; only other names need their bytes.
  if (!NOT_ASCII.test(a) && !NOT_ASCII.test(b)) return compareUnits(a, b);
  return Buffer.compare(sortKey(a), sortKey(b));
}

/** `/` sorts before every other character, so that `a/z` comes before `a-b`, as the walk meets them. */
function compareUnits(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const left = a.charCodeAt(at);
    const right = b.charCodeAt(at);
    if (left !== right) return (left === 47 ? 0 : left) - (right === 47 ? 0 : right);
  }
  return a.length - b.length;
}

function sortKey(path: string): Buffer {
  const bytes = encodePath(path);
  for (let at = bytes.indexOf(47); at !== -1; at = bytes.indexOf(47, at + 1)) bytes[at] = 0;
  return bytes;
}

/** An empty, `.` or `..` component. */
const DOTS_OR_GAPS = /(?:^|\/)(?:\.{0,2})(?:\/|$)/;

/**
 * A member name from a tar, as a relative path (`.` for the root), or E_BUNDLE_UNSAFE when it points outside.
 * `..` is refused even where it would stay inside: no honest writer makes such names.
 */
export function containedPath(name: string): string {
  if (name.startsWith('/')) throw unsafe(name, 'is an absolute path');
  if (name.includes('\0')) throw unsafe(name, 'holds a zero byte');
  // Nearly all names are plain behind their "./", and cost no more than this look.
  const plain = name.startsWith('./') ? name.slice(2) : name;
  if (plain !== '' && !DOTS_OR_GAPS.test(plain)) return plain;
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw unsafe(name, 'has a ".." component');
  return parts.length === 0 ? '.' : parts.join('/');
}

/**
 * Whether a symbolic link made at `path` could lead out of the tree. Only leading `..` are allowed, and no more of
 * them than the link is deep: a `..` after a name may pass through another link and end somewhere else.
 */
export function linkEscapes(path: string, target: string): boolean {
  if (target.startsWith('/')) return true;
  let depth = path.split('/').length - 1;
  let named = false;
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') named = true;
    else if (named || --depth < 0) return true;
  }
  return false;
}

export function unsafe(name: string, why: string): LongshoreError {
  const member = toldPath(name);
  return new LongshoreError('E_BUNDLE_UNSAFE', `member "${member}" of the bundle ${why}`, {
    fields: { member, reason: why },
  });
}

export const leadsOut = (path: string, target: string): LongshoreError =>
  unsafe(path, `is a link to "${toldPath(target)}", outside the dataset`);

/** No path of a file is longer, but a bundle may claim one of a megabyte, which would stand in logs and records. */
const MOST_TOLD = 4096;

/** A path of a bundle, for a message. */
export function toldPath(path: string): string {
  const shown = shownPath(path);
  return shown.length <= MOST_TOLD ? shown : `${shown.slice(0, 200)}… (${shown.length} characters)`;
}

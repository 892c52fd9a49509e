/**
 * What a line of a manifest must be. Its last line proves it whole, not honest: an archive may be written to by others, and
 * what they put into a manifest is used as paths, sizes and places. Looked at by hand: a schema takes ten times as long for
 * a million lines.
 */
import { containedPath } from './path.ts';

type Line = Record<string, unknown>;

const TYPES: ReadonlySet<unknown> = new Set(['file', 'directory', 'symbolic link']);
const NANOSECONDS = /^-?\d{1,20}$/;

export const isHeader = ({ longshore_manifest, member_digests }: Line): boolean =>
  longshore_manifest === 1 &&
  Array.isArray(member_digests) &&
  member_digests.every((name) => typeof name === 'string');

export function isMember(line: Line): boolean {
  const { path, type, size, mode, mtime, digests, offset, xattrs, target, hard_link } = line;
  return (
    isContained(path) &&
    TYPES.has(type) &&
    isCount(size) &&
    isCount(mode) &&
    mode <= 0o7777 &&
    typeof mtime === 'string' &&
    NANOSECONDS.test(mtime) &&
    (digests === undefined || areTexts(digests)) &&
    (offset === undefined || isCount(offset)) &&
    (xattrs === undefined || areTexts(xattrs)) &&
    (target === undefined || typeof target === 'string') &&
    (hard_link === undefined || isContained(hard_link))
  );
}

export function isTrailer({ counts, bundle, body }: Line): boolean {
  if (!isObject(counts) || !isObject(bundle) || typeof body !== 'string') return false;
  const { members, num_files, num_directories, bytes } = counts;
  return [members, num_files, num_directories, bytes, bundle.size].every(isCount) && areTexts(bundle.digests);
}

/** In the form in which it is written, and no other: two lines may not name one place. */
function isContained(path: unknown): boolean {
  if (typeof path !== 'string' || path === '') return false;
  try {
    return containedPath(path) === path;
  } catch {
    return false;
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isObject = (value: unknown): value is Line =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function areTexts(value: unknown): boolean {
  if (!isObject(value)) return false;
  for (const name in value) if (typeof value[name] !== 'string') return false;
  return true;
}

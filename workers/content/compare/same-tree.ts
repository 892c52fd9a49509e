/** Two trees compared with each other, byte by byte: where there is no manifest that could speak for one of them. */
import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { reading, readUpTo } from '../files.ts';
import { fsPath, shownPath } from '../path.ts';
import { absolutePath, type Member, resolveRoot, walkTree } from '../walk.ts';
import { pairUp } from './pair-up.ts';

export interface SameTreeOptions {
  readonly signal?: AbortSignal;
  /** Bytes of files that were compared. */
  onProgress?(bytes: number): void;
}

export interface TreeDifferences {
  /** As [path, reason]; at most 100 of them. */
  readonly problems: readonly (readonly [string, string])[];
  readonly num_problems: number;
  /** What both have. */
  readonly num_files: number;
  readonly num_directories: number;
  readonly bytes: number;
}

const MAX_PROBLEMS = 100;
const CHUNK = 4 * 1024 * 1024;
/** Signals and progress get their turn: many small files are read without ever waiting for anything. */
const ENTRIES_PER_TURN = 200;
const turn = (): Promise<void> => new Promise(setImmediate);

/**
 * Names, types, sizes, link targets and the bytes of every file. Modes and times are no part of it: bundles of other systems
 * keep them in their own ways. Neither tree is held in memory.
 * @param expected what is to be found; in messages the other one is what was found
 */
export async function compareTrees(
  expected: string,
  actual: string,
  options: SameTreeOptions = {},
): Promise<TreeDifferences> {
  const { signal } = options;
  const [left, right] = [resolveRoot(expected), resolveRoot(actual)];
  const problems: [string, string][] = [];
  const counts = { num_problems: 0, num_files: 0, num_directories: 0, bytes: 0 };
  const differ = (path: string, reason: string): void => {
    counts.num_problems += 1;
    if (problems.length < MAX_PROBLEMS) problems.push([shownPath(path), reason]);
  };
  let entries = 0;
  const buffers = [Buffer.allocUnsafe(CHUNK), Buffer.allocUnsafe(CHUNK)] as const;
  for (const [one, other] of pairUp(walkTree(left), walkTree(right))) {
    if (++entries % ENTRIES_PER_TURN === 0) await turn();
    signal?.throwIfAborted();
    const path = one?.path ?? other?.path ?? '';
    const reason = whyDifferent(one, other);
    if (reason !== null) differ(path, reason);
    else if (one?.type === 'directory') counts.num_directories += path === '.' ? 0 : 1;
    else {
      counts.num_files += 1;
      if (one?.type !== 'file') continue;
      const files = [absolutePath(left, path), absolutePath(right, path)] as const;
      if (!(await sameBytes(files, buffers, signal))) differ(path, 'has other bytes');
      counts.bytes += one.size;
      options.onProgress?.(counts.bytes);
    }
  }
  return { problems, ...counts };
}

function whyDifferent(one: Member | null, other: Member | null): string | null {
  if (one === null) return 'is not expected';
  if (other === null) return 'is missing';
  if (one.type === 'other' || other.type === 'other') return 'is neither file, folder nor link';
  if (one.type !== other.type) return `is a ${other.type}, expected a ${one.type}`;
  if (one.type === 'symbolic link' && one.target !== other.target) return 'leads elsewhere';
  if (one.type === 'file' && one.size !== other.size) return `has ${other.size} bytes, expected ${one.size}`;
  return null;
}

async function sameBytes(
  [left, right]: readonly [string, string],
  [one, other]: readonly [Buffer, Buffer],
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const open: number[] = [];
  try {
    for (const path of [left, right]) open.push(openSync(fsPath(path), 'r'));
    const [first = 0, second = 0] = open;
    for (;;) {
      signal?.throwIfAborted();
      const length = reading(left, () => readUpTo(first, one));
      if (length !== reading(right, () => readUpTo(second, other))) return false;
      if (!one.subarray(0, length).equals(other.subarray(0, length))) return false;
      if (length < one.length) return true;
      await turn();
    }
  } finally {
    for (const fd of open) closeSync(fd);
  }
}

/**
 * The same as long as nothing in the tree was changed, added or removed, as far as inodes, sizes and times of change tell; a
 * rename of the root itself is no change.
 */
export async function treeFingerprint(root: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  let entries = 0;
  for (const member of walkTree(root, signal === undefined ? {} : { signal })) {
    if (++entries % ENTRIES_PER_TURN === 0) await turn();
    const { path, type, size, mtime_ns, ctime_ns, ino, target } = member;
    const times = path === '.' ? [] : [mtime_ns, ctime_ns];
    hash.update(`${JSON.stringify([path, type, size, String(ino), target, ...times.map(String)])}\n`);
  }
  return hash.digest('hex');
}

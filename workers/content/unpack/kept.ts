/**
 * What an attempt at unpacking left when its process died: a tree that is partly there, and the beginning of the staged
 * bundle, or, where none is kept of one that comes from far, its headers (kept-headers.ts). Nothing is believed for
 * having been there. The bundle's beginning is read back, or put together of headers and files, and goes through the
 * bundle's digest; each file is compared with the bytes that come, and written from the first difference on.
 */
import { closeSync, lstatSync, mkdirSync, openSync, readSync, statSync, unlinkSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { runCoreutil } from '../coreutils.ts';
import { digestOf } from '../digest/digest.ts';
import { reading, sizeOfFile, textIfThere, writeSmall } from '../files.ts';
import { headersPath, keptHeaders } from './kept-headers.ts';
import { readManifest } from '../manifest.ts';
import { fsPath } from '../path.ts';
import { removeFile, removeTree } from '../publish.ts';
import { absolutePath } from '../walk.ts';

export interface Left {
  /** Of the staged bundle, in bytes; where none is kept, about as much as the next attempt need not ask for again. */
  readonly kept: number;
}

export interface Work {
  readonly target: string;
  readonly manifest: string;
  /** Which copy of the bundle is read. */
  readonly source: string | null;
}

/**
 * Names the bundle by its manifest: what another one left must not be mixed with it. And the copy that is read: half of
 * one and half of another prove neither.
 */
export const workPath = (target: string): string => `${target}.of`;

/** Endings of what belongs to a tree that is half unpacked. */
export const UNPACK_SIDES = ['.of', '.headers'] as const;

export function noteWork(work: Work): void {
  writeSmall(workPath(work.target), identityOf(work));
}

/** Null when there is nothing of this bundle to go on with. Makes what is there fit to be written to again. */
export async function leftBehind(at: Work & { copy: string | null }): Promise<Left | null> {
  if (textIfThere(workPath(at.target)) !== identityOf(at)) return null;
  if (statSync(at.target, { throwIfNoEntry: false })?.isDirectory() !== true) return null;
  removeFile(`${at.target}.deferred`);
  // A kill while it was finished: links are made last, and read-only folders take no new entries. So both come again.
  await runCoreutil('chmod', ['-R', 'u+rwX', '--', at.target]);
  await runCoreutil('find', [at.target, '-type', 'l', '-delete']);
  await removeHardLinks(at);
  return { kept: at.copy === null ? keptHeaders(at.target).offset : sizeOfFile(at.copy) };
}

/**
 * Leaves each file its first name alone. With two it would be written anew by the next attempt, which cannot know whose
 * the other one is; and killed within it a second time, would have to ask for its rest once more, however large it is.
 */
async function removeHardLinks({ target, manifest }: Work): Promise<void> {
  let lines = 0;
  for (const { path, hard_link } of readManifest(manifest)) {
    // A million lines take seconds: heartbeats must come through.
    if (++lines % 1000 === 0) await setImmediate();
    if (hard_link === undefined) continue;
    const name = fsPath(absolutePath(target, path));
    if (lstatSync(name, { throwIfNoEntry: false })?.isFile() === true) unlinkSync(name);
  }
}

export async function clear(target: string, copy: string | null): Promise<void> {
  await removeTree(target);
  mkdirSync(target);
  removeFile(workPath(target));
  removeFile(headersPath(target));
  removeFile(`${target}.deferred`);
  if (copy !== null) removeFile(copy);
}

/** A manifest ends with a digest of itself, so its end tells it from every other. */
function identityOf({ manifest, source }: Work): string {
  const { size } = statSync(manifest);
  const fd = openSync(manifest, 'r');
  try {
    const end = Buffer.alloc(Math.min(size, 4096));
    const length = reading(manifest, () => readSync(fd, end, 0, end.length, size - end.length));
    const { blake3 = '' } = digestOf(['blake3'], end.subarray(0, length));
    return `${size} ${blake3} ${source ?? ''}`;
  } finally {
    closeSync(fd);
  }
}

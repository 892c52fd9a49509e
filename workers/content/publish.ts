import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readdirSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { removeTree, runCoreutil } from './coreutils.ts';
import { syncFully } from './files.ts';
import { systemCalls } from './system-calls.ts';
import { makeFoldersLater } from '../folders.ts';

/**
 * Atomic publication: everything is made under a temporary name beside its final place, synced, then renamed. Who
 * looks at the final place sees the old state or the new one.
 *
 * The temporary name is `.<final name>.partial-<id>`; what dead attempts left is found by it (`removeStale`).
 */
export function partialPath(final: string, id: string): string {
  return join(dirname(final), `${partialPrefix(final)}${id.slice(0, 8)}`);
}

/** A name may have 255 bytes; one that would grow longer is cut and told apart by a hash. */
export function partialPrefix(final: string): string {
  const name = basename(final);
  if (Buffer.byteLength(name) <= 200) return `.${name}.partial-`;
  const cut = Buffer.from(name)
    .subarray(0, 180)
    .toString('latin1')
    .replace(/[^ -~]/g, '_');
  return `.${cut}~${createHash('sha256').update(name).digest('hex').slice(0, 12)}.partial-`;
}

/**
 * Removes what dead attempts at the same thing left. Only the attempt that owns the job may call it.
 * Gives the number of leftovers removed.
 */
export async function removeStale(final: string): Promise<number> {
  const folder = dirname(final);
  const prefix = partialPrefix(final);
  const stale = namesIn(folder).filter((name) => name.startsWith(prefix));
  for (const name of stale) await removeTree(join(folder, name));
  return stale.length;
}

/**
 * Makes the newest leftover of dead attempts at `final` that of this attempt, and removes the others. Only the attempt
 * that owns the job may call it. False when there is none.
 * @param sides endings of files that belong to a leftover, as `.marks`; everything else with its name goes
 */
export async function adoptPartial(
  final: string,
  id: string,
  sides: readonly string[] = [],
): Promise<boolean> {
  const folder = dirname(final);
  const prefix = partialPrefix(final);
  const leftovers = namesIn(folder).filter((name) => name.startsWith(prefix));
  const mains = leftovers.filter((name) => !name.slice(prefix.length).includes('.'));
  const own = partialPath(final, id);
  const age = (name: string): number => lstatSync(join(folder, name)).mtimeMs;
  const newest = mains.includes(basename(own)) ? basename(own) : mains.toSorted((a, b) => age(b) - age(a))[0];
  for (const name of leftovers) {
    const side = newest === undefined ? null : name.startsWith(newest) ? name.slice(newest.length) : null;
    const path = join(folder, name);
    if (side === '' || (side !== null && sides.includes(side))) renameSync(path, `${own}${side}`);
    else await removeTree(path);
  }
  return newest !== undefined;
}

/** None where there is no such folder. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Makes a folder with all that it lies in; a power failure takes none of them back. */
export async function makeFolder(path: string): Promise<void> {
  const first = await makeFoldersLater(path);
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) syncPath(dirname(made));
}

/** Publishes a file over whatever file is there. */
export function publishFile(partial: string, final: string): void {
  syncPath(partial);
  renameSync(partial, final);
  syncPath(dirname(final));
}

/** Points `link` at `target`; an older link, or a file, is replaced in one step. */
export async function publishLink(target: string, link: string, id: string): Promise<void> {
  const partial = partialPath(link, id);
  await removeStale(link);
  symlinkSync(target, partial);
  if (kindOf(link) === 'directory') await publishOverDirectory(partial, link);
  else renameSync(partial, link);
  syncPath(dirname(link));
}

/**
 * Publishes a tree (already synced). Over an existing one by exchanging the two names in one step, then the old tree
 * is removed; where the file system cannot exchange (NFS), the old one is set aside first and the place is empty for
 * an instant. Tells which of the three happened.
 */
export async function publishTree(
  partial: string,
  final: string,
): Promise<'new' | 'exchanged' | 'set aside'> {
  if (kindOf(final) === null) {
    renameSync(partial, final);
    syncPath(dirname(final));
    return 'new';
  }
  return publishOverDirectory(partial, final);
}

async function publishOverDirectory(partial: string, final: string): Promise<'exchanged' | 'set aside'> {
  const exchanged = await exchange(partial, final);
  let old = partial;
  if (!exchanged) {
    old = join(dirname(final), `${partialPrefix(final)}old`);
    await removeTree(old);
    renameSync(final, old);
    renameSync(partial, final);
  }
  syncPath(dirname(final));
  await removeTree(old);
  return exchanged ? 'exchanged' : 'set aside';
}

const SCRIPT = 'exit(syscall($ARGV[0] + 0, -100, $ARGV[1], -100, $ARGV[2], 2) == 0 ? 0 : 1)';

/**
 * renameat2 with RENAME_EXCHANGE. False when this kernel, file system or host cannot do it.
 */
async function exchange(one: string, other: string): Promise<boolean> {
  const calls = systemCalls();
  if (calls === null) return false;
  try {
    return (await runCoreutil('perl', ['-e', SCRIPT, '--', String(calls.renameat2), one, other])).code === 0;
  } catch {
    return false; // No perl: the caller sets the old tree aside instead.
  }
}

/** Removes a file or link; missing is fine. */
export function removeFile(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** fsync of a file, or of a directory after a rename in it. */
export function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    syncFully(fd, path);
  } finally {
    closeSync(fd);
  }
}

function kindOf(path: string): 'directory' | 'other' | null {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return null;
  return stats.isDirectory() ? 'directory' : 'other';
}

export { removeTree } from './coreutils.ts';

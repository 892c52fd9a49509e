import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What a watched folder holds now, or why that cannot be known. An outage is never an empty folder: an unmounted
 * file system must not be read as "all datasets were deleted".
 */
export type Reading =
  | { readonly outage: null; readonly names: readonly string[]; readonly device: string }
  | { readonly outage: string };

const READABLE: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist (not mounted?)',
  ENOTDIR: 'it is not a folder',
  ENOTCONN: 'its file system is not connected',
  ESTALE: 'its file handle is stale (remounted or exported anew?)',
  EIO: 'its file system reports an input/output error',
  EACCES: 'the service user may not read it',
  EPERM: 'the service user may not read it',
};

/** Reads a source; `isKnown` tells the names that were found to be folders before. */
export type ReadSource = (isKnown: (name: string) => boolean) => Promise<Reading>;

/** So many entries that are no folders are looked at anew in each scan; a source full of files only now and then. */
const RECHECKED = 1000;
const OTHERS_MS = 300_000;

/**
 * Direct child folders, links to folders included, files not. Names alone are listed, and only new ones looked up:
 * of 100,000 folders that takes 90 ms and 110 MB; with the type of every entry it is 120 ms and 280 MB.
 *
 * What may not be looked at, and a folder whose name is no UTF-8 (with U+FFFD for what cannot be read), are listed as
 * well: who registers them says what is wrong.
 */
export function createSourceReader(path: string): ReadSource {
  let others = new Set<string>();
  let forgetAt = 0;
  return async (isKnown) => {
    try {
      const { dev } = await stat(path, { bigint: true });
      const entries = await readdir(path);
      if (others.size <= RECHECKED || Date.now() >= forgetAt) {
        others = new Set();
        forgetAt = Date.now() + OTHERS_MS;
      }
      const unsure = entries.filter((name) => !isKnown(name) && !others.has(name));
      const files = await notFolders(unsure, await locator(path, unsure));
      for (const name of files) others.add(name);
      const names =
        others.size === 0 ? entries : entries.filter((name) => isKnown(name) || !others.has(name));
      return { outage: null, names, device: String(dev) };
    } catch (error) {
      return { outage: outageOf(error) };
    }
  };
}

export function outageOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return READABLE[code ?? ''] ?? message ?? String(error);
}

/**
 * The mount point of an unmounted file system is an empty folder of the file system above it: it reads well, lies on
 * another device, and everything is gone. A folder that was emptied lies where it was, and one with new folders on
 * another device is a new disk.
 */
export function looksUnmounted(
  reading: { names: readonly string[]; device: string },
  before: { known: number; device: string | null },
): boolean {
  return (
    reading.names.length === 0 &&
    before.known > 0 &&
    before.device !== null &&
    before.device !== reading.device
  );
}

/** As many at a time as keep the thread pool busy; all 100,000 at once would be 100 MB of promises. */
const AT_A_TIME = 64;

type Path = string | Buffer;

/** Where the entries of a name lie. Several names that are no UTF-8 may read the same. */
async function locator(source: string, names: readonly string[]): Promise<(name: string) => readonly Path[]> {
  const plain = (name: string): Path[] => [join(source, name)];
  if (!names.some(holdsUnreadable)) return plain;
  const entries = await readdir(source, { encoding: 'buffer' });
  const byName = Map.groupBy(entries, (entry) => entry.toString());
  return (name) =>
    holdsUnreadable(name)
      ? (byName.get(name) ?? []).map((entry) => Buffer.concat([Buffer.from(`${source}/`), entry]))
      : plain(name);
}

/** U+FFFD stands for bytes that are no UTF-8, or for itself. */
export const holdsUnreadable = (name: string): boolean => name.includes('\uFFFD');

async function notFolders(
  names: readonly string[],
  pathsOf: (name: string) => readonly Path[],
): Promise<string[]> {
  const found: string[] = [];
  for (let at = 0; at < names.length; at += AT_A_TIME) {
    const some = names.slice(at, at + AT_A_TIME);
    const folders = await Promise.all(some.map((name) => Promise.all(pathsOf(name).map(isFolder))));
    found.push(...some.filter((_, index) => folders[index]?.includes(true) !== true));
  }
  return found;
}

/** Nothing is there, or a link that leads to nothing. */
const NOWHERE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG']);

/**
 * True also for what cannot be looked up: a link into a folder that is closed to this user or onto a file system that is
 * away. It may not keep all the others of its source from being seen.
 */
async function isFolder(path: Path): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    return !NOWHERE.has((error as NodeJS.ErrnoException).code ?? '');
  }
}

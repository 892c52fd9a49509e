import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder with all that it lies in, and gives the first one that was not there; undefined: all were.
 *
 * Node's own (`recursive`) never returns where a file system answers ENOENT for a new folder in a folder that is there, as
 * procfs does, and an automounter for a mount that it does not know or cannot reach: it goes up and down for ever.
 */
export function makeFolders(path: string, mode = 0o777): string | undefined {
  let first: string | undefined;
  for (;;) {
    try {
      mkdirSync(path, mode);
      return first ?? path;
    } catch (error) {
      if (isFolder(path)) return first;
      if (!lacksParent(error) || isFolder(dirname(path))) throw error;
      const made = makeFolders(dirname(path), mode); // Once more when another process removes it meanwhile.
      first ??= made;
    }
  }
}

/** The same without waiting for a mount that does not answer. */
export async function makeFoldersLater(path: string, mode = 0o777): Promise<string | undefined> {
  let first: string | undefined;
  for (;;) {
    try {
      await mkdir(path, mode);
      return first ?? path;
    } catch (error) {
      if (await isFolderLater(path)) return first;
      if (!lacksParent(error) || (await isFolderLater(dirname(path)))) throw error;
      const made = await makeFoldersLater(dirname(path), mode);
      first ??= made;
    }
  }
}

const lacksParent = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // What cannot be made and cannot be seen: why it cannot be made is what is told.
  }
}

const isFolderLater = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );

import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

const ANSWERS = 3;

/**
 * Makes a folder with all that it lies in, and gives the first one that was not there; undefined: all were.
 *
 * Node's own (`recursive`) never returns where a file system answers ENOENT for a new folder in a folder that is there, as
 * procfs does, and an automounter for a mount that it does not know or cannot reach: it goes up and down for ever. Here such
 * an answer counts once it has come ANSWERS times in a row: another process may make the folder above, or remove it, between
 * the answer and the look.
 */
export function makeFolders(path: string, mode = 0o777): string | undefined {
  let first: string | undefined;
  for (let answers = 1; ; answers += 1) {
    try {
      mkdirSync(path, mode);
      return first ?? path;
    } catch (error) {
      if (isFolder(path)) return first;
      if (!lacksParent(error)) throw error;
      if (!isFolder(dirname(path))) {
        const made = makeFolders(dirname(path), mode);
        first ??= made;
        answers = 0;
      } else if (answers === ANSWERS) throw error;
    }
  }
}

/** The same without waiting for a mount that does not answer. */
export async function makeFoldersLater(path: string, mode = 0o777): Promise<string | undefined> {
  let first: string | undefined;
  for (let answers = 1; ; answers += 1) {
    try {
      await mkdir(path, mode);
      return first ?? path;
    } catch (error) {
      if (await isFolderLater(path)) return first;
      if (!lacksParent(error)) throw error;
      if (!(await isFolderLater(dirname(path)))) {
        const made = await makeFoldersLater(dirname(path), mode);
        first ??= made;
        answers = 0;
      } else if (answers === ANSWERS) throw error;
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

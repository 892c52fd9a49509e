import { dirname } from 'node:path';
import { syncFile } from '../content/copy.ts';
import { removeFile } from '../content/publish.ts';
import { makeFoldersLater } from '../folders.ts';

/** Runs a fetch into a file that is there, synced, when it went well, and not at all otherwise. */
export async function fetchWhole<T>(target: string, fetch: () => Promise<T>): Promise<T> {
  await makeFoldersLater(dirname(target));
  removeFile(target);
  try {
    const result = await fetch();
    await syncFile(target);
    return result;
  } catch (error) {
    removeFile(target);
    throw error;
  }
}

import { LongshoreError } from '../errors.ts';

/** Primary result codes of SQLite (sqlite.org/rescode.html); the extended ones carry more above the low byte. */
const BUSY = 5;
const LOCKED = 6;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
export const FULL = 13;
export const CANTOPEN = 14;
const NOTADB = 26;

/** Null: SQLite has not said it. */
export function resultCode(error: unknown): number | null {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' ? code & 0xff : null;
}

/** Another connection is in the way; the same transaction may succeed in a moment. */
export function isBusy(error: unknown): boolean {
  const code = resultCode(error);
  return code === BUSY || code === LOCKED;
}

/** Gives what SQLite reports about the file a code of ours; everything else passes through as it is. */
export function storeFailure(error: unknown, path: string): unknown {
  const code = resultCode(error);
  const detail = error instanceof Error ? error.message : String(error);
  const fields = { path, sqlite: detail };
  if (code === FULL) {
    return new LongshoreError('E_NO_SPACE', `the catalog file ${path} cannot grow: ${detail}`, {
      fields,
      cause: error,
    });
  }
  if (code === READONLY || code === CANTOPEN || code === CORRUPT || code === NOTADB) {
    return new LongshoreError('E_CATALOG_UNAVAILABLE', `the catalog file ${path} cannot be used: ${detail}`, {
      class: 'operator', // No repetition makes a file writable or whole.
      hint: 'Check the file, its owner and its folder (config.catalog.path); restore it from a backup if it is damaged.',
      fields,
      cause: error,
    });
  }
  if (code === BUSY || code === LOCKED || code === IOERR) {
    return new LongshoreError('E_CATALOG_UNAVAILABLE', `the catalog file ${path} did not answer: ${detail}`, {
      fields,
      cause: error,
    });
  }
  return error;
}

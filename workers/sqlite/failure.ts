import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { isOverQuota, LongshoreError, QUOTA_HINT } from '../errors.ts';

/** Primary result codes of SQLite (sqlite.org/rescode.html); the extended ones carry more above the low byte. */
const BUSY = 5;
const LOCKED = 6;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
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
  const full = fullFile(error, path, `the catalog file ${path}`);
  if (full !== null) return full;
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

/**
 * The failure of a write for which there was no room, null for any other. Only a write that met ENOSPC is FULL to SQLite:
 * a quota and the memory that connections share (`-shm`) are I/O errors to it, and a journal that finds no name
 * "unable to open". It keeps the number that the system gave to itself, so the system is asked once more.
 *
 * @param what the file in a person's words
 */
export function fullFile(error: unknown, path: string, what: string): LongshoreError | null {
  const code = resultCode(error);
  if (code !== FULL && code !== IOERR && code !== CANTOPEN) return null;
  const refusal = code === FULL ? 'ENOSPC' : refusalBeside(path);
  if (refusal === null) return null;
  const { message } = error as Error;
  const reason = code === FULL ? message : `${message} (${WORDS[refusal]})`;
  return new LongshoreError('E_NO_SPACE', `${what} cannot grow: ${reason}`, {
    fields: { path, sqlite: message, errno: refusal },
    cause: error,
    ...(refusal === 'EDQUOT' ? { hint: QUOTA_HINT } : {}),
  });
}

const WORDS = {
  ENOSPC: 'ENOSPC: no space left on device',
  EDQUOT: 'EDQUOT: disk quota exceeded',
} as const;

/** SQLite has given back what the failed transaction took last, a few pages. */
const TRIED_BYTES = 256 * 1024;

/** Why no file of that size can be made in the folder of `path`; null: it can be, or another reason is in the way. */
function refusalBeside(path: string): 'ENOSPC' | 'EDQUOT' | null {
  const probe = `${path}-room-${randomBytes(6).toString('hex')}`;
  try {
    const fd = openSync(probe, 'wx', 0o600);
    try {
      unlinkSync(probe); // Nothing is left of it whatever happens now.
      const bytes = Buffer.alloc(TRIED_BYTES);
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    return null;
  } catch (failure) {
    if (isOverQuota(failure)) return 'EDQUOT';
    return (failure as NodeJS.ErrnoException).code === 'ENOSPC' ? 'ENOSPC' : null;
  }
}

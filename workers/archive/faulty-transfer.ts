import { coerceError, isLongshoreError, type LongshoreError } from '../errors.ts';
import { type Archive, manifestKey } from './contract.ts';

/**
 * The failure as one of this copy, when the file system of its archive refused to read bundle or manifest (a sector that
 * cannot be read); null when it is about anything else. What the target's file system refuses names another path.
 */
export function unreadable(
  error: unknown,
  archive: Pick<Archive, 'local'>,
  key: string,
): LongshoreError | null {
  const known = coerceError(error);
  const { path } = known.fields;
  if (archive.local === null || known.code !== 'E_IO') return null;
  return [key, manifestKey(key)].some((one) => archive.local?.path(one) === path) ? known : null;
}

/**
 * The failure where a copy did not come as it was stored: the bytes were other ones, or could not be read. Once, it is the
 * way's fault more often than the copy's, so whoever reads tries again before it is held against the copy; null when it is
 * about anything else.
 */
export function faultyTransfer(
  error: unknown,
  archive: Pick<Archive, 'local'>,
  key: string,
): LongshoreError | null {
  if (isLongshoreError(error) && error.code === 'E_TRANSFER') return error;
  return unreadable(error, archive, key);
}

import { coerceError, type LongshoreError } from '../errors.ts';
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

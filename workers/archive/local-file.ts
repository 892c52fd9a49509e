/** A local file beside what an archive says of its object: is it the same? */
import { digestFile } from '../content/digest/file.ts';
import type { ArchivedObject } from './contract.ts';

export interface LocalFile {
  readonly file: string;
  readonly size: number;
  readonly md5: () => Promise<string>;
}

/** Only where the archive states a digest is the local one worth its reading. */
export const isSame = async (
  there: ArchivedObject | null,
  size: number,
  md5: () => Promise<string>,
): Promise<boolean> =>
  there?.digests.md5 !== undefined && there.size === size && there.digests.md5 === (await md5());

/** @param local null: the digest is not compared */
export async function differs(
  found: Pick<ArchivedObject, 'size' | 'digests'> | null,
  size: number,
  local: (() => Promise<string>) | null,
): Promise<string | null> {
  if (found === null) return 'is not there';
  if (found.size !== size) return `has ${found.size} bytes, expected ${size},`;
  if (local === null) return null;
  if (found.digests.md5 === undefined) return 'has no digest';
  const expected = await local();
  return found.digests.md5 === expected ? null : `has md5 ${found.digests.md5}, expected ${expected},`;
}

/** Known, or read once when it is asked for. */
export function lazyMd5(
  source: { file: string; digests?: Readonly<Record<string, string>> },
  signal?: AbortSignal,
) {
  let digest: Promise<string> | null = null;
  return (): Promise<string> => {
    digest ??=
      source.digests?.md5 === undefined ? md5Of(source.file, signal) : Promise.resolve(source.digests.md5);
    return digest;
  };
}

export const md5Of = async (path: string, signal: AbortSignal | undefined): Promise<string> =>
  (await digestFile(path, ['md5'], { signal })).md5 as string;

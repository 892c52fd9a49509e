import type { FileRow } from '../dataset/types.ts';
import type { Digests } from './digest/digest.ts';
import { readManifest } from './manifest.ts';
import { shownPath } from './path.ts';

/**
 * The rows that the catalog keeps of a manifest, in batches; links to directories have none (spec 3.4). Other work
 * of the process gets its turn between batches.
 */
export async function* manifestFileRows(path: string, batch_size: number): AsyncGenerator<FileRow[]> {
  let batch: FileRow[] = [];
  for (const member of readManifest(path)) {
    if (member.type === 'directory' || member.to_directory === true) continue;
    batch.push(fileRow(member.path, member.type, member.size, member.digests ?? {}));
    if (batch.length < batch_size) continue;
    yield batch;
    batch = [];
    await new Promise(setImmediate);
  }
  if (batch.length > 0) yield batch;
}

export const fileRow = (path: string, type: FileRow['type'], size: number, digests: Digests): FileRow => ({
  path: shownPath(path),
  type,
  size,
  md5: digests.md5 ?? null,
  digests,
});

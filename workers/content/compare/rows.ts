/** Compares a tree with the catalog's file rows: for bundles from before there were manifests. */
import { lstatSync } from 'node:fs';
import type { DigestName } from '../../../config/index.ts';
import { type FileRow, SIZE_UNKNOWN } from '../../dataset/types.ts';
import type { Digests } from '../digest/digest.ts';
import { digestFile } from '../digest/file.ts';
import { fsPath, shownPath } from '../path.ts';
import { absolutePath, leadsToDirectory, walkTree } from '../walk.ts';

export interface RowComparison {
  readonly root: string;
  /** Rows after this path, null for the first; an empty page is the end. */
  page(after: string | null): Promise<FileRow[]>;
  readonly signal?: AbortSignal;
  onProgress?(progress: { files: number; bytes: number }): void;
}

type Problem = [path: string, reason: string];
const MAX_PROBLEMS = 1000;

/** Reads every file again: nothing else proves a tree that no manifest describes. */
export async function compareRows(
  options: RowComparison,
): Promise<{ num_files: number; problems: Problem[]; num_problems: number }> {
  const names = namesBelow(options);
  const problems: Problem[] = [];
  let num_problems = 0;
  const add = (path: string, reason: string): void => {
    num_problems += 1;
    if (problems.length < MAX_PROBLEMS) problems.push([path, reason]);
  };
  let num_files = 0;
  let bytes = 0;
  const tell = (): void => options.onProgress?.({ files: num_files, bytes });
  const reading = {
    signal: options.signal,
    onRead: (length: number): void => {
      bytes += length;
      tell();
    },
  };
  let after: string | null = null;
  for (;;) {
    const rows = await options.page(after);
    for (const row of rows) {
      options.signal?.throwIfAborted();
      const path = names.get(row.path);
      names.delete(row.path);
      const reason = path === undefined ? 'file does not exist' : await differenceOf(path, row, reading);
      if (reason !== null) add(row.path, reason);
      num_files += 1;
    }
    tell();
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last.path;
  }
  for (const name of names.keys()) add(name, 'is not in the catalog');
  return { num_files, problems, num_problems };
}

/** Files and links to files, by the name that rows give them. Rows and walk differ in order, so all are held. */
function namesBelow(options: RowComparison): Map<string, string> {
  const names = new Map<string, string>();
  for (const member of walkTree(options.root, options)) {
    const { path, type } = member;
    if (type === 'file' || (type === 'symbolic link' && !leadsToDirectory(options.root, path)))
      names.set(shownPath(path), absolutePath(options.root, path));
  }
  return names;
}

async function differenceOf(
  path: string,
  row: FileRow,
  reading: Parameters<typeof digestFile>[2],
): Promise<string | null> {
  const stats = lstatSync(fsPath(path));
  if (stats.isSymbolicLink() !== (row.type === 'symbolic link')) return 'type differs';
  if (row.type === 'symbolic link') return null;
  if (row.fingerprint !== SIZE_UNKNOWN && stats.size !== row.size) return 'size differs';
  const expected: Digests = row.md5 === null ? row.digests : { ...row.digests, md5: row.md5 };
  const [name] = Object.keys(expected) as DigestName[];
  if (name === undefined) return null;
  const found = await digestFile(path, [name], reading);
  return found[name] === expected[name] ? null : 'checksum mismatch';
}

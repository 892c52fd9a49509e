/** What of a dataset can be in a bag, found out before anything is made. */
import { realpathSync, statSync } from 'node:fs';
import { LongshoreError } from '../../errors.ts';
import { type ManifestMember, readManifest } from '../manifest.ts';
import { decodePath, fsPath, shownPath } from '../path.ts';
import { absolutePath, isVanished, resolveRoot } from '../walk.ts';

export type BagLinks = 'fail' | 'follow' | 'skip';

export interface BagContents {
  readonly files: number;
  readonly bytes: number;
  /** A bag holds only files. Shown paths. */
  readonly empty_folders: readonly string[];
  readonly skipped_links: readonly string[];
  /** Where the bytes of a member lie in the dataset; null: it is not in the bag. */
  readonly place: (member: ManifestMember) => string | null;
}

/** @throws E_USAGE listing the links that cannot be in the bag, E_VALUE listing names that it cannot hold */
export function bagContents(manifest: string, root: string, links: BagLinks): BagContents {
  const base = resolveRoot(root);
  const empty_folders: string[] = [];
  const skipped_links: string[] = [];
  const refused: [string, string][] = [];
  const undecodable: string[] = [];
  let folder: string | null = null;
  let files = 0;
  let bytes = 0;
  for (const member of readManifest(manifest)) {
    const { path, type } = member;
    if (folder !== null && !path.startsWith(`${folder}/`)) empty_folders.push(shownPath(folder));
    folder = type === 'directory' && path !== '.' ? path : null;
    if (type === 'directory') continue;
    if (!path.isWellFormed()) undecodable.push(shownPath(path));
    let size = member.size;
    if (type === 'symbolic link') {
      if (links === 'skip') {
        skipped_links.push(`${shownPath(path)} -> ${shownPath(member.target ?? '')}`);
        continue;
      }
      const found =
        links === 'follow'
          ? followed(base, path)
          : { reason: `leads to "${shownPath(member.target ?? '')}"` };
      if ('reason' in found) {
        refused.push([shownPath(path), found.reason]);
        continue;
      }
      size = found.size;
    }
    files += 1;
    bytes += size;
  }
  if (folder !== null) empty_folders.push(shownPath(folder));
  refuseLinks(refused, links);
  refuseNames(undecodable);
  const place = (member: ManifestMember): string | null => {
    if (member.type === 'file') return member.path;
    if (member.type === 'directory' || links !== 'follow') return null;
    const found = followed(base, member.path);
    return 'reason' in found ? null : found.path;
  };
  return { files, bytes, empty_folders, skipped_links, place };
}

/** The file of the dataset that a link leads to. */
function followed(base: string, path: string): { path: string; size: number } | { reason: string } {
  let real: string;
  try {
    real = decodePath(realpathSync(fsPath(absolutePath(base, path)), 'buffer'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (isVanished(error) || code === 'ELOOP') return { reason: 'leads nowhere' };
    throw error;
  }
  if (!real.startsWith(`${base}/`)) return { reason: 'leads out of the dataset' };
  const stats = statSync(fsPath(real));
  return stats.isFile()
    ? { path: real.slice(base.length + 1), size: stats.size }
    : { reason: 'leads to a folder' };
}

const MOST_LISTED = 1000;

function refuseLinks(refused: readonly [string, string][], links: BagLinks): void {
  const [first] = refused;
  if (first === undefined) return;
  const more = refused.length > 1 ? `, and ${refused.length - 1} more` : '';
  throw new LongshoreError('E_USAGE', `a bag holds no links: "${first[0]}" ${first[1]}${more}`, {
    fields: { links: refused.slice(0, MOST_LISTED), total: refused.length },
    hint:
      links === 'fail'
        ? 'With --links follow the files that they lead to are in the bag, with --links skip they are left out.'
        : 'With --links skip they are left out, and listed in bag-info.txt.',
  });
}

/** The files of a bag that name its payload are UTF-8. */
function refuseNames(undecodable: readonly string[]): void {
  const [first] = undecodable;
  if (first === undefined) return;
  const more = undecodable.length > 1 ? `, and ${undecodable.length - 1} more` : '';
  throw new LongshoreError('E_VALUE', `a bag holds only names in UTF-8, not "${first}"${more}`, {
    fields: { paths: undecodable.slice(0, MOST_LISTED), total: undecodable.length },
    hint: 'Deliver the dataset as its bundle, or rename these files in a new version of it.',
  });
}

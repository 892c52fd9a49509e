import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { partialPath, publishFile, removeFile, removeStale, syncPath } from '../content/publish.ts';
import { LongshoreError } from '../errors.ts';
import { type Archive, type ArchivePut, manifestKey } from './contract.ts';

/**
 * The archive as folders of a (mounted) file system.
 *
 * An unmounted archive looks like an empty folder, and an empty folder looks like an archive whose bundles are all
 * gone. So the root holds a mark; without it, a bundle that is not found is an outage. The mark is made by the first
 * put this host makes into a root, and never again by the same host: its state folder remembers.
 */
const MARK = '.longshore-archive';

export interface FilesystemArchiveOptions {
  /** Where the archive's file systems are mounted; every key lies below one of them. */
  readonly roots: readonly string[];
  /** Of this host. */
  readonly state_dir: string;
}

export function createFilesystemArchive({ roots, state_dir }: FilesystemArchiveOptions): Archive {
  const root = (key: string): string => roots.find((one) => key.startsWith(`${one}/`)) ?? dirname(key);
  const size = (key: string) => statSync(key, { throwIfNoEntry: false });

  const requireMark = (key: string): void => {
    const mark = join(root(key), MARK);
    if (exists(mark)) return;
    throw new LongshoreError(
      'E_ARCHIVE_UNAVAILABLE',
      `the archive at ${root(key)} is not there: ${mark} is missing`,
      {
        fields: { root: root(key), key },
        hint: `Mount the archive, then resume. If it is a new one that was put in the old one's place: mkdir -p '${root(key)}' && touch '${mark}'`,
      },
    );
  };

  return {
    name: 'filesystem',
    capabilities: { localFile: true, range: true },
    ensureReachable: async (key) => requireMark(key),
    beginPut: async (key, { task_id }) => {
      markOnce(state_dir, root(key));
      requireMark(key);
      return beginPut(key, task_id);
    },
    stat: async (key) => {
      const found = size(key);
      if (found !== undefined) return { size: found.size, modified: found.mtime };
      requireMark(key);
      return null;
    },
    openBundle: async (key) => {
      if (size(key) === undefined) {
        requireMark(key);
        throw new LongshoreError('E_BUNDLE_MISSING', `the archive holds no bundle ${key}`, {
          fields: { path: key },
        });
      }
      return { path: key, manifestPath: exists(manifestKey(key)) ? manifestKey(key) : null };
    },
    delete: async (key) => {
      if (!exists(key)) requireMark(key);
      const removed = removeFile(key);
      // The bundle first: a manifest alone is litter that the next delete finds, a bundle alone would lose its proof.
      const both = removeFile(manifestKey(key)) || removed;
      if (both) syncPath(dirname(key));
      await removeStale(key);
      return removed;
    },
  };
}

async function beginPut(key: string, task_id: string): Promise<ArchivePut> {
  const final = { bundle: key, manifest: manifestKey(key) };
  mkdirSync(dirname(key), { recursive: true });
  await removeStale(final.bundle);
  await removeStale(final.manifest);
  const path = partialPath(final.bundle, task_id);
  const manifestPath = partialPath(final.manifest, task_id);
  return {
    path,
    manifestPath,
    commit: async () => {
      publishFile(manifestPath, final.manifest);
      publishFile(path, final.bundle);
    },
    abort: async () => {
      removeFile(path);
      removeFile(manifestPath);
    },
  };
}

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

/** Marks a root that this host has never used. One it has used and that lost its mark is an outage, not a new archive. */
function markOnce(state_dir: string, root: string): void {
  const known = join(state_dir, 'archives', encodeURIComponent(root).slice(0, 200));
  if (exists(known)) return;
  mkdirSync(root, { recursive: true });
  writeFileSync(
    join(root, MARK),
    'This folder is an archive of Longshore. Without this file it counts as not mounted.\n',
  );
  syncPath(root);
  mkdirSync(dirname(known), { recursive: true });
  writeFileSync(known, `${root}\n`);
}

import { createReadStream } from 'node:fs';
import { open, opendir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CHECKPOINT_SIDES, removeCheckpoints } from '../content/pack/checkpoint.ts';
import { copyBytes } from '../content/copy.ts';
import { namingPath, sizeOfFile } from '../content/files.ts';
import { notePath } from '../content/note-name.ts';
import {
  adoptPartial,
  makeFolder,
  partialPath,
  publishFile,
  removeFile,
  removeStale,
  syncPath,
} from '../content/publish.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { makeFoldersLater } from '../folders.ts';
import { type Archive, type LocalPut, manifestKey, type PutSource, missingObject } from './contract.ts';

/**
 * The archive as folders of a (mounted) file system.
 *
 * An unmounted archive looks like an empty folder, and an empty folder looks like an archive whose bundles are all
 * gone. So the root holds a mark; without it, an object that is not found is an outage. The mark is made by the first
 * put this host makes into a root, and never again by the same host: its state folder remembers. A host that has never
 * seen the archive mounted would mark the empty mount point; where that can happen, `mark: 'required'` leaves the
 * first mark to a person.
 */
const MARK = '.longshore-archive';
const MARK_TEXT = 'This folder is an archive of Longshore. Without this file it counts as not mounted.\n';
/** What a network mount says that is away; ENOENT alone is an absence. */
const OUTAGES = new Set([
  'EIO',
  'ESTALE',
  'ENOTCONN',
  'ETIMEDOUT',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENXIO',
  'ENODEV',
]);

export interface FilesystemArchiveOptions {
  readonly name?: string;
  /** Put before every key; '' where keys are absolute paths. */
  readonly root?: string;
  /** Where the archive's file systems are mounted, with `root`; every object lies below one of them. */
  readonly roots: readonly string[];
  /** Of this host. */
  readonly state_dir: string;
  readonly mark?: 'auto' | 'required';
  /** A mount that answers no question in this time is away. */
  readonly answer_seconds?: number;
}

export function createFilesystemArchive(options: FilesystemArchiveOptions): Archive {
  const { roots, state_dir, name = 'filesystem', root = '', mark = 'auto', answer_seconds = 60 } = options;
  const pathOf = (key: string): string => (root === '' ? key : join(root, key));
  /** Null: it was recorded before the configuration named other places. */
  const rootOf = (path: string): string | null => roots.find((one) => path.startsWith(`${one}/`)) ?? null;
  const ask = <T>(path: string, question: Promise<T>): Promise<T> => answer(path, question, answer_seconds);
  const look = (path: string) => ask(path, statOrNull(path));

  const requireMark = async (path: string): Promise<void> => {
    const root = rootOf(path);
    if (root === null) return requireFormer(path);
    const at = join(root, MARK);
    if ((await look(at)) !== null) return;
    throw new LongshoreError(
      'E_ARCHIVE_UNAVAILABLE',
      `the archive at ${root} is not there: ${at} is missing`,
      {
        fields: { archive: name, root, path },
        hint: `Mount the archive, then resume. If it is a new one, or was put in the old one's place: mkdir -p '${root}' && touch '${at}'`,
      },
    );
  };
  /** One of the folders above it has the mark that its root was given when that was configured. */
  const requireFormer = async (path: string): Promise<void> => {
    for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder))
      if ((await look(join(folder, MARK))) !== null) return;
    throw new LongshoreError(
      'E_ARCHIVE_UNAVAILABLE',
      `${path} was recorded where no archive is: the configuration has ${name} at ${roots.join(', ')} now`,
      {
        fields: { archive: name, roots, path },
        hint: 'Mount or link the old place (docs/recovery.md), or name it in the configuration again, then resume.',
      },
    );
  };
  const prepare = async (path: string): Promise<void> => {
    const root = rootOf(path);
    // Elsewhere nothing is new: a mark would make an archive of a place that is not there any more.
    if (mark === 'auto' && root !== null) await ask(path, markOnce(state_dir, root));
    await requireMark(path);
    await ask(path, makeFolder(dirname(path)));
  };
  const existing = async (key: string) => {
    const path = pathOf(key);
    const found = await look(path);
    if (found !== null) return { path, found };
    await requireMark(path);
    throw missingObject(name, path);
  };
  const objectOf = (found: { size: number; mtime: Date }) => ({
    size: found.size,
    modified: found.mtime,
    digests: {},
  });

  return {
    name,
    capabilities: { stream: true, range: true, resume: false, digest: null, max_transfers: null },
    local: {
      path: pathOf,
      isNew: async (key) => {
        const root = rootOf(pathOf(key));
        return mark === 'auto' && root !== null && (await look(knownAs(state_dir, root))) === null;
      },
      beginPut: async (key, { task_id }) => {
        await prepare(pathOf(key));
        return beginLocalPut(pathOf(key), task_id);
      },
    },
    locate: pathOf,
    prepare: (key) => prepare(pathOf(key)),
    ensureReachable: (key) => requireMark(pathOf(key)),
    stat: async (key) => {
      const found = await look(pathOf(key));
      if (found !== null) return objectOf(found);
      await requireMark(pathOf(key));
      return null;
    },
    put: async (key, source, { task_id, signal, onProgress }) => {
      const path = pathOf(key);
      await prepare(path);
      await removeStale(path);
      const partial = partialPath(path, task_id);
      try {
        await copyBytes(bytesOf(source), partial, { signal, onProgress });
        signal?.throwIfAborted();
        publishFile(partial, path);
      } finally {
        removeFile(partial);
      }
      return objectOf(await stat(path));
    },
    get: async (key, target, { signal, onProgress }) => {
      const { path, found } = await existing(key);
      await copyBytes(createReadStream(path), target, { signal, onProgress });
      return objectOf(found);
    },
    read: async function* (key, { offset = 0, length, signal }) {
      const { path } = await existing(key);
      if (length === 0) return;
      const end = length === undefined ? {} : { end: offset + length - 1 };
      const stream = createReadStream(path, { start: offset, ...end, highWaterMark: 1024 * 1024, signal });
      for await (const chunk of stream) yield chunk as Buffer;
    },
    delete: async (key) => {
      const path = pathOf(key);
      if ((await look(path)) === null) await requireMark(path);
      const removed = removeFile(path);
      if (removed) syncPath(dirname(path));
      await removeStale(path);
      return removed;
    },
    list: async function* (prefix) {
      const folder = pathOf(prefix);
      if ((await look(folder)) === null) {
        await requireMark(join(folder, 'any'));
        return;
      }
      for await (const path of filesBelow(folder))
        yield { key: root === '' ? path : path.slice(root.length + 1), size: (await stat(path)).size };
    },
  };
}

async function* filesBelow(folder: string): AsyncGenerator<string> {
  for await (const entry of await opendir(folder, { bufferSize: 512 })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile() && !entry.name.startsWith('.')) yield path; // Marks, and what is being written.
  }
}

const bytesOf = (source: PutSource): AsyncIterable<Buffer> =>
  'file' in source ? createReadStream(source.file, { highWaterMark: 1024 * 1024 }) : source.stream;

async function statOrNull(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** What a mount answers, or that it is away: a dead NFS server keeps its clients waiting for ever. */
async function answer<T>(path: string, question: Promise<T>, seconds: number): Promise<T> {
  const late = new AbortController();
  const away = (why: string, cause?: unknown): LongshoreError =>
    new LongshoreError('E_ARCHIVE_UNAVAILABLE', `the archive's file system at ${path} is away: ${why}`, {
      fields: { path },
      cause,
    });
  const timeout = sleep(seconds * 1000, undefined, { signal: late.signal, ref: false }).then(() => {
    throw away(`no answer in ${seconds} s`);
  });
  timeout.catch(() => undefined);
  try {
    return await Promise.race([question, timeout]);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw OUTAGES.has(code) && !isLongshoreError(error) ? away(code, error) : error;
  } finally {
    late.abort();
  }
}

/** Also for a bundle that is made here on its way to an archive elsewhere. */
export async function beginLocalPut(path: string, task_id: string): Promise<LocalPut> {
  const final = { bundle: path, manifest: manifestKey(path) };
  await adoptPartial(final.bundle, task_id, CHECKPOINT_SIDES);
  await adoptPartial(final.manifest, task_id);
  const partial = partialPath(final.bundle, task_id);
  const manifestPath = partialPath(final.manifest, task_id);
  return {
    path: partial,
    manifestPath,
    commit: async () => {
      const replaces = sizeOfFile(final.bundle) > 0;
      if (!replaces) publishFile(manifestPath, final.manifest);
      publishFile(partial, final.bundle);
      if (replaces) publishFile(manifestPath, final.manifest);
      removeCheckpoints(partial);
    },
    abort: async () => {
      removeFile(partial);
      removeFile(manifestPath);
      removeCheckpoints(partial);
    },
  };
}

const knownAs = (state_dir: string, root: string): string => notePath(join(state_dir, 'archives'), root);

/** Marks a root that this host has never used. One it has used and that lost its mark is an outage, not a new archive. */
async function markOnce(state_dir: string, root: string): Promise<void> {
  const known = knownAs(state_dir, root);
  if ((await statOrNull(known)) !== null) return;
  await makeFolder(root);
  const path = join(root, MARK);
  const file = await open(path, 'w');
  try {
    await namingPath(path, file.writeFile(MARK_TEXT));
    await namingPath(path, file.sync());
  } finally {
    await file.close();
  }
  syncPath(root);
  await makeFoldersLater(dirname(known));
  await namingPath(known, writeFile(known, `${root}\n`));
}

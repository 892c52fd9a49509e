import {
  chmodSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { LongshoreError } from '../../errors.ts';
import { makeFolders } from '../../folders.ts';
import { type Claim, isClaimed, makeClaim } from '../claim.ts';
import { Barrier } from '../barrier.ts';
import { removeTree } from '../coreutils.ts';
import { syncFile } from '../copy.ts';
import { DeferredList } from '../deferred.ts';
import type { ManifestMember } from '../manifest.ts';
import { decodeLatin1, fsPath, shownPath } from '../path.ts';
import { removeFile } from '../publish.ts';
import { secondsOf, settable } from '../times.ts';
import { absolutePath } from '../walk.ts';

/** What stands in the place of a member: nothing, perhaps the member itself (its bytes decide), the member, or something else. */
export type Standing = 'free' | 'likely' | 'same' | { readonly conflict: string };

/** A folder that recalled members are written into. */
export interface RecallTarget {
  readonly standing: (member: ManifestMember) => Standing;
  /** A folder with the mode and time of the manifest, both set at the very end. */
  directory(member: ManifestMember): void;
  /** A link, made at the very end: nothing is ever written through one. */
  link(member: ManifestMember): void;
  /** A file under a name of its own, to be written, then `add`ed. */
  create(): Promise<{ file: FileHandle; path: string }>;
  /** Takes a file that is complete; it shows under its name when `publish` says so to `onPublished`. */
  add(partial: string, member: ManifestMember, onPublished: () => void): Promise<void>;
  publish(): Promise<void>;
  /** Makes links and finishes folders. */
  complete(): Promise<void>;
  /** Removes what is not complete. */
  close(): Promise<void>;
}

const WORK_PREFIX = '.recall.partial-';
/** Files that share one sync: one for each of many small files takes several times as long as writing them. */
const BATCH_FILES = 512;
const BATCH_BYTES = 256 * 1024 * 1024;

/** What stands in a folder that may not exist yet. @throws E_RECALL when it is none */
export function standingIn(to: string): (member: ManifestMember) => Standing {
  if (statSync(to, { throwIfNoEntry: false })?.isDirectory() === false) throw inTheWay(to, 'is no folder');
  const folders = createFolderCheck(to);
  return (member) => {
    const blocked = member.path === '.' ? null : folders(member.path);
    if (blocked !== null) return { conflict: `${shownPath(blocked)} is no folder` };
    const path = fsPath(absolutePath(to, member.path));
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return 'free';
    if (member.type === 'directory') return found.isDirectory() ? 'same' : { conflict: 'is no folder' };
    if (found.isDirectory()) return { conflict: 'is a folder' };
    if (member.type === 'symbolic link') {
      const same = found.isSymbolicLink() && decodeLatin1(readlinkSync(path, 'latin1')) === member.target;
      return same ? 'same' : { conflict: 'exists' };
    }
    return found.isFile() && found.size === member.size ? 'likely' : { conflict: 'exists' };
  };
}

/**
 * Gives the first name above a path that is something else than a folder; a link to a folder is, since it may lead
 * out of the target. Members come folder by folder, so the last answer is nearly always the next one.
 */
function createFolderCheck(to: string): (path: string) => string | null {
  let sound = '';
  return (path) => {
    const parent = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
    if (parent === sound) return null;
    const names = parent.split('/');
    for (let count = 1; count <= names.length; count++) {
      const folder = names.slice(0, count).join('/');
      const found = lstatSync(fsPath(absolutePath(to, folder)), { throwIfNoEntry: false });
      if (found === undefined) return null;
      if (!found.isDirectory()) return folder;
    }
    sound = parent;
    return null;
  };
}

/** @param force replaces files and links that exist; never a folder */
export async function openRecallTarget(to: string, { force }: { force: boolean }): Promise<RecallTarget> {
  const existed = lstatSync(to, { throwIfNoEntry: false }) !== undefined;
  makeFolders(to);
  const root = realpathSync(to);
  await removeDead(root);
  const barrier = await Barrier.open(root);
  const work = join(root, `${WORK_PREFIX}${randomUUID().slice(0, 8)}`);
  const { claim, deferred } = await openWork(work).catch(async (error: unknown) => {
    await barrier.close(); // Or its thread would hold up the end of the process.
    throw error;
  });
  const standing = standingIn(root);
  let names = 0;
  let ready: { partial: string; member: ManifestMember; onPublished: () => void }[] = [];
  let bytes = 0;

  const publish = async (): Promise<void> => {
    const [only] = ready;
    if (only === undefined) return;
    if (ready.length > 1) await barrier.sync();
    else await syncFile(only.partial);
    for (const { partial, member, onPublished } of ready) {
      place(root, partial, member, { force, standing });
      onPublished();
    }
    ready = [];
    bytes = 0;
  };

  return {
    standing,
    directory: (member) => {
      if (member.path !== '.') makeFolder(root, member, standing);
      // A folder of the user's own keeps its mode; one that was made for the recall is the dataset's root.
      if (member.path !== '.' || !existed) deferred.add({ ...deferredOf(member), kind: 'directory' });
    },
    link: (member) =>
      deferred.add({ ...deferredOf(member), kind: 'symbolic link', target: member.target ?? '' }),
    create: async () => {
      const path = join(work, String(names++));
      return { file: await open(path, 'wx', 0o600), path };
    },
    add: async (partial, member, onPublished) => {
      ready.push({ partial, member, onPublished });
      bytes += member.size;
      if (ready.length >= BATCH_FILES || bytes >= BATCH_BYTES) await publish();
    },
    publish,
    complete: async () => {
      await publish();
      makeLinks(root, work, deferred, { force, standing });
      // Before the modes: nothing can be removed from a folder that is read-only.
      claim.release();
      await removeTree(work);
      finishFolders(root, deferred);
      await barrier.sync();
    },
    close: async () => {
      deferred.close();
      claim.release();
      await removeTree(work);
      await barrier.close();
    },
  };
}

async function openWork(work: string): Promise<{ claim: Claim; deferred: DeferredList }> {
  let claim: Claim | null = null;
  try {
    mkdirSync(work, { mode: 0o700 });
    claim = makeClaim(join(work, 'claim'));
    return { claim, deferred: new DeferredList(join(work, 'deferred')) };
  } catch (error) {
    claim?.release();
    await removeTree(work);
    throw error;
  }
}

/** What killed recalls into this folder left; those that live keep theirs. */
async function removeDead(root: string): Promise<void> {
  for (const name of readdirSync(root)) {
    if (name.startsWith(WORK_PREFIX) && !isClaimed(join(root, name, 'claim')))
      await removeTree(join(root, name));
  }
}

type Placing = { readonly force: boolean; readonly standing: (member: ManifestMember) => Standing };

/** Shows a complete file under its name. Without force by a link(2), which refuses where rename(2) would replace. */
function place(root: string, partial: string, member: ManifestMember, { force, standing }: Placing): void {
  const final = absolutePath(root, member.path);
  makeParents(root, member, standing);
  if (!force && linkInto(partial, member, final)) return void removeFile(partial);
  renameSync(partial, fsPath(final));
}

/** False where the file system has no hard links, and nothing is in the way. */
function linkInto(partial: string, member: ManifestMember, final: string): boolean {
  try {
    linkSync(partial, fsPath(final));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' || lstatSync(fsPath(final), { throwIfNoEntry: false }) !== undefined)
      throw inTheWay(member.path, 'exists');
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'ENOSYS') return false;
    throw error;
  }
}

function makeParents(root: string, member: ManifestMember, standing: Placing['standing']): void {
  const at = standing(member);
  // `is no folder` of a parent, or a folder in the place of a file: force helps against neither.
  if (typeof at === 'object' && at.conflict !== 'exists') throw inTheWay(member.path, at.conflict);
  mkdirSync(fsPath(dirname(absolutePath(root, member.path))), { recursive: true });
}

function makeFolder(root: string, member: ManifestMember, standing: Placing['standing']): void {
  makeParents(root, member, standing);
  const path = fsPath(absolutePath(root, member.path));
  try {
    mkdirSync(path, 0o700);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // A recall that was killed may have finished it, as a folder that nobody may write to.
    const { mode } = lstatSync(path);
    if ((mode & 0o300) !== 0o300) chmodSync(path, (mode & 0o7777) | 0o700);
  }
}

function makeLinks(root: string, work: string, deferred: DeferredList, options: Placing): void {
  for (let index = 0; index < deferred.count; index++) {
    const entry = deferred.read(index);
    if (entry.kind === 'directory') continue;
    const member = { ...entry, type: 'symbolic link', size: 0, mtime: '0' } as const;
    const at = options.standing(member);
    if (at === 'same') continue;
    if (at !== 'free' && !options.force) throw inTheWay(entry.path, 'exists');
    makeParents(root, member, options.standing);
    const partial = join(work, `link-${index}`);
    symlinkSync(fsPath(entry.target ?? ''), partial);
    lutimesSync(partial, settable(entry.mtime), settable(entry.mtime));
    renameSync(partial, fsPath(absolutePath(root, entry.path)));
  }
}

function finishFolders(root: string, deferred: DeferredList): void {
  // Deepest first: each entry made in a folder changes its time, and a folder may be read-only.
  for (let index = deferred.count - 1; index >= 0; index--) {
    const entry = deferred.read(index);
    if (entry.kind !== 'directory') continue;
    const path = fsPath(absolutePath(root, entry.path));
    utimesSync(path, settable(entry.mtime), settable(entry.mtime));
    chmodSync(path, entry.mode);
  }
}

const deferredOf = ({ path, mode, mtime }: ManifestMember) => ({
  path,
  mode: mode & 0o3777,
  mtime: secondsOf(mtime),
});

export function inTheWay(path: string, conflict: string): LongshoreError {
  return new LongshoreError(
    'E_RECALL',
    `"${shownPath(path)}" is not recalled: something else is in its place (${conflict})`,
    {
      fields: { member: shownPath(path), reason: conflict },
      hint: 'Recall into another folder with --to, or replace existing files with --force. Folders are never replaced.',
    },
  );
}

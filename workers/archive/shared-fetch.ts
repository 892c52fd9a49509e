/**
 * One transfer of a bundle for all who need it at the same time, from an archive that gives only all of it: recalls and
 * proofs read the shared file, a staging takes it for its own, or hands on what it has fetched itself (fetch-folder.ts).
 */
import { linkSync, lstatSync, realpathSync, renameSync, statSync, symlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sizeOfFile } from '../content/files.ts';
import { namesIn, removeFile } from '../content/publish.ts';
import { reserveSpace } from '../content/space.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import type { Archive } from './contract.ts';
import {
  claimIn,
  claims,
  clearUnused,
  folderOf,
  openedByAll,
  removeAbandoned,
  removeIfEmpty,
  withLock,
} from './fetch-folder.ts';

export interface FetchPlace {
  readonly scratch: string;
  readonly state_dir: string;
  /** Must stay free in the scratch space. */
  readonly keep: number;
}

export interface SharedFetchOptions extends FetchPlace {
  readonly archive: Pick<Archive, 'name' | 'capabilities' | 'get' | 'locate'>;
  readonly key: string;
  /** Of the bundle, as the archive states it. */
  readonly size: number;
  /**
   * Where the caller wants it as a file of its own, for which it has reserved the room. It is fetched there if nobody has
   * it yet, and else gets a name there where the file system allows.
   */
  readonly own?: string;
  /** Only what came for somebody who needs it now: bytes from before prove nothing of the archive. */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the bundle that are here, whoever fetches them. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export interface FetchedBundle {
  readonly file: FileHandle;
  /** `own`, or where that could not be had the shared file, which stays until `close`. */
  readonly path: string;
  /** Whether this process brought it. */
  readonly fetched: boolean;
  /** The last one who needs it removes it; what is the caller's own stays. */
  readonly close: () => Promise<void>;
}

/** @throws E_NO_SPACE, E_BUNDLE_MISSING, E_TRANSFER, E_ARCHIVE_UNAVAILABLE */
export async function fetchShared(options: SharedFetchOptions): Promise<FetchedBundle> {
  const { archive, key, scratch } = options;
  makeFolders(scratch);
  const folder = folderOf(archive.name, key, scratch);
  removeAbandoned(scratch, folder);
  await setAside(folder, options.signal);
  const waiting = claimIn(folder, 'waiting');
  const using = usingOr(folder, () => waiting.release());
  const leave = async (): Promise<void> => {
    using.release();
    // Who still uses it may be fetching it again, for hours.
    if (claims(folder, 'using').length > 0) return;
    await withLock(folder, undefined, undefined, async () => clearUnused(folder));
    removeIfEmpty(folder);
  };
  try {
    const watch = (): void => options.onProgress?.(sizeOfFile(join(folder, 'partial')));
    const got = await withLock(folder, options.signal, watch, () => bring(options, folder)).finally(() =>
      waiting.release(),
    );
    return {
      ...got,
      close: async () => {
        // The caller moves or removes its file next, and with it what others were promised.
        if (got.fetched && isLink(join(folder, 'bundle'))) await openedByAll(folder);
        await got.file.close();
        await leave();
      },
    };
  } catch (error) {
    await leave();
    throw error;
  }
}

/** The process may live on without the bundle (a scrub), and would be waited for by all who share it. */
function usingOr(folder: string, giveUp: () => void): ReturnType<typeof claimIn> {
  try {
    return claimIn(folder, 'using');
  } catch (error) {
    giveUp();
    throw error;
  }
}

/** What nobody but the dead has brought. To be done before the own claim, which would make it look needed. */
async function setAside(folder: string, signal: AbortSignal | undefined): Promise<void> {
  const unused = (): boolean => claims(folder, 'using').length === 0 && namesIn(folder).includes('bundle');
  if (!unused()) return;
  await withLock(folder, signal, undefined, async () => {
    if (unused()) renameSync(join(folder, 'bundle'), join(folder, 'kept'));
  });
}

/** Under the lock: opens the bundle, after fetching it where nobody has. */
async function bring(options: SharedFetchOptions, folder: string): Promise<Omit<FetchedBundle, 'close'>> {
  const { own, onProgress } = options;
  const there = brought(options, folder);
  if (there === null && own === undefined) await fetchHere(options, folder);
  if (there === null && own !== undefined) await fetchOwn(options, own, folder);
  onProgress?.(options.size);
  const shared = there ?? join(folder, 'bundle');
  const path = own !== undefined && takeOwn(shared, own) ? own : shared;
  return { file: await open(path, 'r'), path, fetched: there === null };
}

/** The whole bundle where it is there already. */
function brought({ size, fresh = false }: SharedFetchOptions, folder: string): string | null {
  const [bundle, kept] = [join(folder, 'bundle'), join(folder, 'kept')];
  return (fresh ? [bundle] : [bundle, kept]).find((path) => isWhole(path, size)) ?? null;
}

async function fetchHere(options: SharedFetchOptions, folder: string): Promise<void> {
  const { archive, key, size, onProgress, keep, state_dir } = options;
  const partial = join(folder, 'partial');
  // What a dead process left is continued where the archive can do that; then it takes its room already.
  const left = archive.capabilities.resume && isFile(partial) ? sizeOfFile(partial) : 0;
  if (left === 0) removeFile(partial);
  const bytes = Math.max(0, size - left);
  const space = reserveSpace({ folder, bytes, keep, state_dir, holder: `recall of ${key}` });
  try {
    await transfer(options, partial, (done) => {
      space.spent(done - left);
      onProgress?.(done);
    });
    renameSync(partial, join(folder, 'bundle'));
  } finally {
    space.release();
  }
}

async function fetchOwn(options: SharedFetchOptions, own: string, folder: string): Promise<void> {
  const partial = join(folder, 'partial');
  const bundle = join(folder, 'bundle');
  removeFile(partial);
  symlinkSync(own, partial); // For those who wait: how far it is.
  try {
    await transfer(options, own, options.onProgress);
    removeFile(bundle);
    // From another file system it is shared for as long as it lies where it was fetched.
    if (!linked(own, bundle)) symlinkSync(own, bundle);
  } finally {
    removeFile(partial);
  }
}

async function transfer(
  { archive, key, size, signal }: SharedFetchOptions,
  target: string,
  onProgress: ((bytes: number) => void) | undefined,
): Promise<void> {
  await archive.get(key, target, {
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  const actual = sizeOfFile(target);
  if (actual === size) return;
  const where = archive.locate(key);
  throw new LongshoreError('E_TRANSFER', `${actual} of ${size} bytes of ${where} arrived`, {
    fields: { archive: archive.name, path: where, expected: size, actual },
  });
}

/** Gives the bundle a name at `own`, in place of what a dead attempt left there. False: it is on another file system. */
function takeOwn(bundle: string, own: string): boolean {
  const shared = statSync(bundle);
  const left = statSync(own, { throwIfNoEntry: false });
  if (left?.ino === shared.ino && left.dev === shared.dev) return true;
  if (shared.dev !== statSync(dirname(own)).dev) return false;
  removeFile(own);
  return linked(realpathSync(bundle), own);
}

/** Across file systems, mounts of one, and where there are no hard links: of files of other users, of too many. */
const NO_LINK: ReadonlySet<string> = new Set([
  'EXDEV',
  'EPERM',
  'EACCES',
  'EMLINK',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
]);

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (NO_LINK.has((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** Also an empty one: 0 is what `sizeOfFile` gives of none. */
const isWhole = (path: string, size: number): boolean =>
  statSync(path, { throwIfNoEntry: false })?.size === size;

const isLink = (path: string): boolean =>
  lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;

const isFile = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;

/**
 * One local copy of a bundle for all who need parts of it at the same time, from an archive that gives only all of it.
 *
 * Everything of one bundle lies in one folder of the scratch space:
 *
 *     recall-<hash>/bundle          complete, renamed into place
 *     recall-<hash>/partial         while it is fetched
 *     recall-<hash>/using-<id>      one for each process that needs it
 *     recall-<hash>/lock-<id>       the one that fetches it, looks whether it is complete, or removes it
 *
 * A lock has a name that is never used again, so that a dead one can be removed without the danger of removing its
 * successor. Whoever finds another lock beside its own takes its own back and waits: two can give way at once, but
 * never hold it at once.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Claim, isClaimed, makeClaim } from '../content/claim.ts';
import { sizeOfFile } from '../content/files.ts';
import { namesIn, removeFile } from '../content/publish.ts';
import { reserveSpace } from '../content/space.ts';
import { LongshoreError } from '../errors.ts';
import type { Archive } from './contract.ts';

export interface SharedFetchOptions {
  readonly archive: Archive;
  readonly key: string;
  /** Of the bundle, as the archive states it. */
  readonly size: number;
  readonly scratch: string;
  readonly state_dir: string;
  /** Must stay free in the scratch space. */
  readonly keep: number;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the bundle that are here, whoever fetches them. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export interface FetchedBundle {
  readonly file: FileHandle;
  /** Whether this process brought it. */
  readonly fetched: boolean;
  /** The last one who needs it removes it. */
  readonly close: () => Promise<void>;
}

const WAIT_MS = 200;

/** @throws E_NO_SPACE, E_BUNDLE_MISSING, E_TRANSFER, E_ARCHIVE_UNAVAILABLE */
export async function fetchShared(options: SharedFetchOptions): Promise<FetchedBundle> {
  const { archive, key, scratch } = options;
  mkdirSync(scratch, { recursive: true });
  const folder = folderOf(archive.name, key, scratch);
  removeAbandoned(scratch, folder);
  const using = claimIn(folder, 'using');
  const leave = async (): Promise<void> => {
    using.release();
    // Who still uses it may be fetching it again, for hours.
    if (claims(folder, 'using').length > 0) return;
    await withLock(folder, undefined, undefined, async () => clearUnused(folder));
    removeIfEmpty(folder);
  };
  try {
    const watch = (): void => options.onProgress?.(sizeOfFile(join(folder, 'partial')));
    const got = await withLock(folder, options.signal, watch, () => bring(options, folder));
    return {
      ...got,
      close: async () => {
        await got.file.close();
        await leave();
      },
    };
  } catch (error) {
    await leave();
    throw error;
  }
}

/** Under the lock: opens the bundle, after fetching it where nobody has. */
async function bring(
  options: SharedFetchOptions,
  folder: string,
): Promise<{ file: FileHandle; fetched: boolean }> {
  const { archive, key, size, signal, onProgress, keep, state_dir } = options;
  const bundle = join(folder, 'bundle');
  const there = sizeOfFile(bundle) === size;
  if (!there) {
    const partial = join(folder, 'partial');
    // What a dead process left is continued where the archive can do that; then it takes its room already.
    const left = archive.capabilities.resume ? sizeOfFile(partial) : 0;
    if (left === 0) removeFile(partial);
    const bytes = Math.max(0, size - left);
    const space = reserveSpace({ folder, bytes, keep, state_dir, holder: `recall of ${key}` });
    try {
      await archive.get(key, partial, {
        ...(signal === undefined ? {} : { signal }),
        onProgress: (done) => {
          space.spent(done - left);
          onProgress?.(done);
        },
      });
      const actual = sizeOfFile(partial);
      if (actual !== size)
        throw new LongshoreError(
          'E_TRANSFER',
          `${actual} of ${size} bytes of ${archive.locate(key)} arrived`,
          {
            fields: { archive: archive.name, path: archive.locate(key), expected: size, actual },
          },
        );
      renameSync(partial, bundle);
    } finally {
      space.release();
    }
  }
  onProgress?.(size);
  return { file: await open(bundle, 'r'), fetched: !there };
}

async function withLock<T>(
  folder: string,
  signal: AbortSignal | undefined,
  onWait: (() => void) | undefined,
  body: () => Promise<T>,
): Promise<T> {
  for (;;) {
    const lock = tryLock(folder);
    if (lock === null) {
      onWait?.();
      // Not the same for all, or two that give way at once would do so for ever.
      await sleep(WAIT_MS * (0.5 + Math.random()), undefined, signal === undefined ? {} : { signal });
      continue;
    }
    try {
      return await body();
    } finally {
      lock.release();
    }
  }
}

function tryLock(folder: string): Claim | null {
  if (claims(folder, 'lock').length > 0) return null;
  const own = claimIn(folder, 'lock');
  if (claims(folder, 'lock').length === 1) return own;
  own.release();
  return null;
}

/** Another one may just be removing the empty folder. */
function claimIn(folder: string, kind: 'using' | 'lock'): Claim {
  for (;;) {
    mkdirSync(folder, { recursive: true });
    try {
      return makeClaim(join(folder, `${kind}-${randomUUID()}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/** Of living processes; those of dead ones are removed. */
function claims(folder: string, kind: 'using' | 'lock'): string[] {
  return namesIn(folder)
    .filter((name) => name.startsWith(`${kind}-`))
    .map((name) => join(folder, name))
    .filter((path) => {
      const alive = isClaimed(path);
      if (!alive) removeFile(path);
      return alive;
    });
}

/** Bundles of other keys whose processes were all killed. */
function removeAbandoned(scratch: string, own: string): void {
  for (const name of namesIn(scratch)) {
    const folder = join(scratch, name);
    if (!/^recall-[0-9a-f]{24}$/.test(name) || folder === own) continue;
    if (claims(folder, 'using').length > 0) continue;
    const lock = tryLock(folder);
    if (lock === null) continue;
    clearUnused(folder);
    lock.release();
    removeIfEmpty(folder);
  }
}

/** Under the lock. */
function clearUnused(folder: string): void {
  if (claims(folder, 'using').length > 0) return;
  for (const name of namesIn(folder)) if (!/^(?:lock|using)-/.test(name)) removeFile(join(folder, name));
}

const folderOf = (archive: string, key: string, scratch: string): string =>
  join(scratch, `recall-${createHash('sha256').update(`${archive}\0${key}`).digest('hex').slice(0, 24)}`);

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!['ENOTEMPTY', 'ENOENT', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

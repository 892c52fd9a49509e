/**
 * The folder in the scratch space through which those who need one bundle at the same time share it.
 *
 *     recall-<hash>/bundle          complete: a file of its own, or a name more of the file that a staging fetched
 *     recall-<hash>/kept            the same, but of processes that are all dead: good for parts that prove themselves
 *     recall-<hash>/partial         while it is fetched; a symbolic link to where a staging fetches it
 *     recall-<hash>/using-<id>      one for each process that needs it
 *     recall-<hash>/waiting-<id>    the same, for as long as it has not opened it
 *     recall-<hash>/lock-<id>       the one that fetches it, looks whether it is complete, or removes it
 *
 * A lock has a name that is never used again, so that a dead one can be removed without the danger of removing its
 * successor. Whoever finds another lock beside its own takes its own back and waits: two can give way at once, but
 * never hold it at once.
 */
import { createHash, randomUUID } from 'node:crypto';
import { lstatSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Claim, isClaimed, makeClaim } from '../content/claim.ts';
import { namesIn, removeFile } from '../content/publish.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';

const WAIT_MS = 200;
/** Many times what a living process needs to find the lock free; one that is frozen is not waited for any longer. */
const OPENED_MS = 10_000;

type Kind = 'using' | 'waiting' | 'lock';

export async function withLock<T>(
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

/**
 * Another one may just be removing the empty folder.
 * @throws E_IO when the folder is somebody else's, who could hand us any bytes for the bundle's
 */
export function claimIn(folder: string, kind: Kind): Claim {
  for (;;) {
    makeFolders(folder);
    assertOurs(folder);
    try {
      return makeClaim(join(folder, `${kind}-${randomUUID()}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/** Of living processes; those of dead ones are removed. */
export function claims(folder: string, kind: Kind): string[] {
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
export function removeAbandoned(scratch: string, own: string): void {
  for (const name of namesIn(scratch)) {
    const folder = join(scratch, name);
    if (!/^recall-[0-9a-f]{24}$/.test(name) || folder === own || !isOurs(folder)) continue;
    if (claims(folder, 'using').length > 0) continue;
    const lock = tryLock(folder);
    if (lock === null) continue;
    clearUnused(folder);
    lock.release();
    removeIfEmpty(folder);
  }
}

/** Under the lock. */
export function clearUnused(folder: string): void {
  if (claims(folder, 'using').length + claims(folder, 'waiting').length > 0) return;
  for (const name of namesIn(folder))
    if (!/^(?:lock|using|waiting)-/.test(name)) removeFile(join(folder, name));
}

/** Nobody waits for it any more, or has not come for it in time. */
export async function openedByAll(folder: string): Promise<void> {
  const deadline = performance.now() + OPENED_MS;
  while (claims(folder, 'waiting').length > 0 && performance.now() < deadline) await sleep(WAIT_MS / 10);
}

/** One for each user, as what lies in it is trusted. */
export function folderOf(archive: string, key: string, scratch: string): string {
  const what = `${archive}\0${key}\0${process.geteuid?.() ?? ''}`;
  return join(scratch, `recall-${createHash('sha256').update(what).digest('hex').slice(0, 24)}`);
}

/**
 * Others may write to a scratch space, too: a folder of such a name may be theirs, and a link may lead to the archive, whose
 * files would be removed as those of dead processes.
 */
function isOurs(folder: string): boolean {
  const found = lstatSync(folder, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === ownerIn(dirname(folder));
}

const owners = new Map<string, number>();

/** Whose our files are there: a server may map users to others. */
function ownerIn(scratch: string): number {
  const known = owners.get(scratch);
  if (known !== undefined) return known;
  const probe = join(scratch, `.owner-${randomUUID()}`);
  writeFileSync(probe, '', { flag: 'wx' });
  const { uid } = lstatSync(probe);
  removeFile(probe);
  owners.set(scratch, uid);
  return uid;
}

function assertOurs(folder: string): void {
  if (lstatSync(folder, { throwIfNoEntry: false }) === undefined || isOurs(folder)) return;
  throw new LongshoreError('E_IO', `${folder} is no folder of this user, and nothing is fetched there`, {
    class: 'operator',
    fields: { path: folder },
    hint: 'Remove it, or let paths.scratch be a folder that nobody else writes to; then resume.',
  });
}

export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!['ENOTEMPTY', 'ENOENT', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

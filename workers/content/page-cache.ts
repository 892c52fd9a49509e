/** That a file is read from where it lies, and not from this host's memory. */
import { statfsSync } from 'node:fs';
import { runCoreutil } from './coreutils.ts';
import { FILE_SYSTEM } from './system-calls.ts';

/** Disks of this host: what they hold has left its memory by the way that it will come back. */
const OWN_DISKS: ReadonlySet<number> = new Set(Object.values(FILE_SYSTEM));

/**
 * Lets go of the cached pages of a file that is on the disk (posix_fadvise(2), POSIX_FADV_DONTNEED; Node has no binding,
 * dd has one). A proof that reads what was written a moment ago would else prove the memory of this host. An advice: where
 * the kernel, the file system or a small dd does not take it, the file is read all the same.
 */
export async function dropCached(path: string): Promise<void> {
  await runCoreutil('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']).catch(() => undefined);
}

/**
 * The same for a file that another host keeps (NFS, Lustre, SMB …), where the cache would hide all that can go wrong on the
 * way. On a disk of this host it would be read while the same disk is written to: staging 2 GB took 5.3 s instead of 3.6 s,
 * for a read that the first scrub makes anyway.
 */
export async function dropCachedOfOthers(path: string): Promise<void> {
  if (!onOwnDisk(path)) await dropCached(path);
}

export const onOwnDisk = (path: string): boolean => OWN_DISKS.has(statfsSync(path).type);

import { ENTRIES_PER_TURN, walkTree } from './walk.ts';

/**
 * When a tree last changed: the newest modification or change time of the root and of everything below it, in
 * milliseconds. An entry that vanishes during the look counts as a change now. A modification time in the future (an
 * instrument with a wrong clock, `touch -d`) says nothing: the change time tells when it was set.
 * @throws E_ORIGIN_MISSING
 */
export async function newestChange(root: string, options: { signal?: AbortSignal } = {}): Promise<number> {
  const now = BigInt(Date.now()) * 1_000_000n;
  let newest = 0n;
  let vanished = false;
  let entries = 0;
  const walk = walkTree(root, {
    ...options,
    onVanished: () => {
      vanished = true;
    },
    // Whether it can be read is for the inspection to say; its own times count.
    onUnreadable: () => undefined,
  });
  for (const { mtime_ns, ctime_ns } of walk) {
    if (mtime_ns > newest && mtime_ns <= now) newest = mtime_ns;
    if (ctime_ns > newest) newest = ctime_ns;
    if (++entries % ENTRIES_PER_TURN === 0) await new Promise(setImmediate);
  }
  return vanished ? Date.now() : Number(newest) / 1e6;
}

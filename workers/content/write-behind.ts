import { closeSync, fdatasync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Barrier } from './barrier.ts';

/**
 * As good as none, and no busy loop where there is nothing to write: 2 GB in 2,000 files were packed in 2.2 s, with 20 ms
 * in between in 2.4 s, with 50 ms in 2.5 s (medians of six in turns).
 */
const FILE_PAUSE_MS = 5;
/** With 20 ms or 300 ms the staging took as long. */
const TREE_PAUSE_MS = 150;

/** What is being written. */
export interface Written {
  readonly file?: string | null;
  /** Of a tree. */
  readonly barrier?: Barrier;
}

/**
 * Keeps the disk busy with what is being written: dirty pages go out while the threads still digest and write. Without
 * it the kernel begins only when a tenth of the memory is dirty, and the fsync before the rename then waits for
 * gigabytes: a fifth slower on 3 GB in 2,000 files (archive 3.1 s and 2.5 s, stage 4.7 s and 3.7 s). For a tree there is
 * more to it: clean pages are the ones that can be had again at once when memory is full of them (stage 4.5 s and 3.5 s).
 *
 * A help, not a proof: what fails here fails again where the writer asks. Its own fsync sees every error of the file, since
 * each open file keeps its own place in the kernel's list of them, and the barrier keeps what it was told.
 *
 * @returns ends it; resolves when nothing is under way and no file is held open
 */
export function writeBehind({ file = null, barrier }: Written): () => Promise<void> {
  const stopped = new AbortController();
  const ended = Promise.all([
    file === null ? null : flushFile(file, stopped.signal),
    barrier === undefined ? null : flushTree(barrier, stopped.signal),
  ]);
  return async () => {
    stopped.abort();
    await ended;
  };
}

async function flushFile(path: string, stopped: AbortSignal): Promise<void> {
  let fd: number | null = null;
  while (!stopped.aborted) {
    fd ??= openIfMade(path);
    const open = fd;
    if (open !== null) await new Promise<void>((resolve) => fdatasync(open, () => resolve()));
    await pause(FILE_PAUSE_MS, stopped);
  }
  if (fd !== null) closeSync(fd);
}

async function flushTree(barrier: Barrier, stopped: AbortSignal): Promise<void> {
  for (;;) {
    await pause(TREE_PAUSE_MS, stopped);
    if (stopped.aborted) return;
    try {
      await barrier.sync();
    } catch {
      return; // Kept by the barrier.
    }
  }
}

const pause = (ms: number, stopped: AbortSignal): Promise<unknown> =>
  sleep(ms, undefined, { signal: stopped }).catch(() => undefined);

function openIfMade(path: string): number | null {
  try {
    return openSync(path, 'r');
  } catch {
    return null; // Its thread has not made it yet, or will say itself why it cannot.
  }
}

import { readFileSync } from 'node:fs';
import { membersOfAll } from './process-group.ts';

const LOOK_EVERY_MS = 250;

/** Looks at the memory of process groups that have a limit; while there is none it costs nothing. */
export interface MemoryWatch {
  /** Calls `exceeded` once, with the bytes that were seen. Answers how to end the watch. */
  add(pgid: number, limit: number, exceeded: (used: number) => void): () => void;
}

/**
 * Why not a cgroup: making one takes rights that a service user seldom has, and there are still two versions of them.
 * Why not RLIMIT_AS: Node reserves tens of gigabytes of addresses that it never touches.
 */
export function createMemoryWatch(): MemoryWatch {
  const watched = new Map<number, { limit: number; exceeded: (used: number) => void }>();
  let timer: NodeJS.Timeout | null = null;
  const look = (): void => {
    // One walk through /proc for all of them.
    for (const [pgid, pids] of membersOfAll(new Set(watched.keys()))) {
      const used = pids.reduce((sum, pid) => sum + heldBy(pid), 0);
      const watch = watched.get(pgid);
      if (watch === undefined || used <= watch.limit) continue;
      end(pgid);
      watch.exceeded(used);
    }
  };
  const end = (pgid: number): void => {
    watched.delete(pgid);
    if (watched.size > 0 || timer === null) return;
    clearInterval(timer);
    timer = null;
  };
  return {
    add: (pgid, limit, exceeded) => {
      watched.set(pgid, { limit, exceeded });
      timer ??= setInterval(look, LOOK_EVERY_MS).unref();
      return () => end(pgid);
    },
  };
}

/** What only its end gives back to the machine: pages of files in memory are no burden, the kernel drops them. */
export function heldBy(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const kib = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    return (kib('RssAnon') + kib('RssShmem') + kib('VmSwap')) * 1024;
  } catch {
    return 0; // It ended.
  }
}

/** What an attempt leaves behind in its process, for one that is to take another attempt after it. */
import { readFileSync } from 'node:fs';
import { subscribe } from 'node:diagnostics_channel';

export interface Traces {
  /** What is here now is of the process itself. Asked for once, before its first attempt begins. */
  begin(): void;
  /**
   * Whether nothing was started since the last attempt, and nothing more is open. Careful: what it cannot know counts as
   * a trace.
   */
  clean(): boolean;
}

interface Look {
  /** Processes and threads that were started. */
  readonly started: number;
  /** Page faults of children that have ended, see {@link faultsOfChildren}. */
  readonly faults: string | null;
  /** Timers, sockets, pipes, file requests. */
  readonly resources: number;
  readonly directory: string;
}

export function watchTraces(): Traces {
  let started = 0;
  // Published by Node whenever it makes one; those that are waited for (spawnSync) are seen in /proc.
  for (const channel of ['child_process', 'worker_threads']) subscribe(channel, () => (started += 1));
  const look = (): Look => ({
    started,
    faults: faultsOfChildren(),
    resources: process.getActiveResourcesInfo().length,
    directory: process.cwd(),
  });
  let before: Look | null = null;
  return {
    begin: () => {
      before ??= look();
    },
    clean: () => {
      const now = look();
      const clean =
        before !== null &&
        now.started === before.started &&
        now.faults !== null &&
        now.faults === before.faults &&
        now.resources <= before.resources &&
        now.directory === before.directory;
      // Between two attempts the process does nothing: one look is the end of one and the beginning of the next.
      before = now;
      return clean;
    },
  };
}

/** Every program that was started and waited for has had some (proc(5), stat, cminflt). Null: not to be known. */
function faultsOfChildren(): string | null {
  try {
    const text = readFileSync('/proc/self/stat', 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[8] ?? null;
  } catch {
    return null;
  }
}

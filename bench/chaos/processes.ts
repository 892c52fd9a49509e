import { readdirSync, readFileSync } from 'node:fs';

export interface Living {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** All processes that are not zombies, by /proc. */
export function living(): Living[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
        // The name in field 2 may hold blanks and brackets.
        const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return state === 'Z' ? [] : [{ pid: Number(name), parent: Number(parent), command }];
      } catch {
        return []; // Ended in between.
      }
    });
}

export const childrenOf = (parent: number, what: RegExp): number[] =>
  living()
    .filter((one) => one.parent === parent && what.test(one.command))
    .map(({ pid }) => pid);

/** False: it has ended by itself. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Ends what a test run has started when the run itself is killed, and can end nothing any more. */
import { spawn } from 'node:child_process';

export interface Leash {
  /** A process that lives as long as this one. */
  hold(pid: number): void;
  /** All was ended in good order: nothing is left to do. */
  release(): void;
}

/**
 * A shell that reads what it is to hold and ends with its input, which the kernel closes whatever this process dies of. A number
 * that has gone to another process since is left alone: it began at another time.
 */
const SHELL = `
  began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
  held=
  while read -r word pid; do
    case $word in
      hold) held="$held $pid:$(began "$pid")" ;;
      release) exit ;;
    esac
  done
  for one in $held; do
    if [ "$(began "\${one%:*}")" = "\${one#*:}" ]; then kill -9 "\${one%:*}"; fi
  done
  rm -rf -- "$1"
`;

/** @param folder is removed with them */
export function leash(folder: string): Leash {
  // In a group of its own: Ctrl-C is for the run, which still has to end its servers.
  const child = spawn('sh', ['-c', SHELL, 'leash', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  child.unref();
  child.on('error', () => undefined); // No shell: as it was without a leash.
  child.stdin.on('error', () => undefined);
  return {
    hold: (pid) => void child.stdin.write(`hold ${pid}\n`),
    release: () => void child.stdin.end('release\n'),
  };
}

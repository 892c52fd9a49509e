import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { getSystemErrorName } from 'node:util';
import { LongshoreError } from '../errors.ts';
import { runCoreutil } from './coreutils.ts';
import { systemCalls } from './system-calls.ts';

const SCRIPT = `
$| = 1;
open(my $at, '<', $ARGV[1]) or exit 1;
print "open\n";
while (<STDIN>) { print((syscall($ARGV[0] + 0, fileno $at) == 0 ? 0 : $! + 0), "\n") }
`;

/**
 * One barrier for a whole tree: syncfs(2). An fsync for each of 50,000 small files took several times as long as writing
 * them.
 *
 * Opened before the first byte is written. The kernel tells a failed write once to each open file that was there when
 * it failed; a `sync` that comes later learns nothing of one that another process has been told of, and says that all is
 * well. Node has no call for it: perl, which every Debian has, holds the file open and makes it. Where that cannot be,
 * `sync -f` each time.
 */
export class Barrier {
  readonly #path: string;
  readonly #holder: Holder | null;
  #failure: Error | null = null;

  private constructor(path: string, holder: Holder | null) {
    this.#path = path;
    this.#holder = holder;
  }

  static async open(path: string): Promise<Barrier> {
    const calls = systemCalls();
    return new Barrier(path, calls === null ? null : await hold(path, calls.syncfs));
  }

  /**
   * All that was written to the file system since the barrier was opened is on the disk when this resolves. Once failed,
   * it fails always: what is lost stays lost.
   *
   * @throws E_IO
   * @throws E_HELPER_LOST where the process that held the file open was killed: nothing is proven, and nobody has failed
   */
  async sync(): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    try {
      await (this.#holder === null ? syncNow(this.#path) : this.#ask(this.#holder));
    } catch (error) {
      this.#failure = error as Error;
      throw error;
    }
  }

  async #ask({ child, lines }: Holder): Promise<void> {
    child.stdin?.write('\n');
    const { value, done } = await lines.next();
    if (done !== true && value === '0') return;
    if (done === true)
      throw new LongshoreError('E_HELPER_LOST', `syncfs of ${this.#path} failed: its holder was killed`, {
        fields: { path: this.#path },
      });
    const code = getSystemErrorName(-Number(value));
    throw new LongshoreError('E_IO', `syncfs of ${this.#path} failed: ${code}`, {
      fields: { path: this.#path, code },
    });
  }

  async close(): Promise<void> {
    if (this.#holder === null) return;
    const { child, ended } = this.#holder;
    child.stdin?.end();
    await ended;
  }
}

interface Holder {
  readonly child: ChildProcess;
  readonly lines: AsyncIterator<string>;
  readonly ended: Promise<unknown>;
}

async function hold(path: string, call: number): Promise<Holder | null> {
  const child = spawn('perl', ['-e', SCRIPT, '--', String(call), path], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => undefined); // It ended; the missing answer says so.
  const ended = once(child, 'close').catch(() => undefined); // No perl.
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await Promise.race([lines.next(), ended.then(() => null)]);
  return first?.value === 'open' ? { child, lines, ended } : null;
}

async function syncNow(path: string): Promise<void> {
  const { code, stderr } = await runCoreutil('sync', ['-f', '--', path]);
  if (code !== 0)
    throw new LongshoreError('E_IO', `sync -f ${path} failed: ${stderr}`, { fields: { path, code } });
}

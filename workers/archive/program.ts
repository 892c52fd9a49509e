/** Runs the programs that some archives are reached by (hsi, rclone): argument arrays, no shell. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { LongshoreError } from '../errors.ts';
import { environmentFor } from '../tools/environment.ts';

export interface ProgramCall {
  readonly command: string;
  readonly args: readonly string[];
  readonly signal?: AbortSignal | undefined;
  /**
   * It is stopped when nothing has moved for so long: no output, no byte taken, no `touch` by `watch`. The time that its
   * reader or the source of its input takes is not its own.
   */
  readonly stall_seconds: number;
  /** Given to its standard input, as fast as it takes it. */
  readonly input?: AsyncIterable<Buffer>;
  /** Told what it writes to standard error; false says that this is no sign of movement. */
  readonly onStderr?: (text: string) => boolean;
  /** Asked meanwhile; true says that something moved. */
  readonly watch?: { readonly every_seconds: number; readonly moved: () => Promise<boolean> };
}

export interface ProgramEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: Buffer;
  /** The end of it. */
  readonly stderr: string;
  readonly stalled: boolean;
}

const MAX_STDOUT = 64 * 1024 * 1024;
const MAX_STDERR = 16 * 1024;
const KILL_AFTER_MS = 5000;

/**
 * Resolves however the program ends; what its exit code means is for the caller.
 * @throws E_TOOL_MISSING, what the signal was aborted with, what `input` failed with
 */
export async function runProgram(call: ProgramCall): Promise<ProgramEnd> {
  const running = await startProgram(call);
  const stdout: Buffer[] = [];
  let size = 0;
  running.out.on('data', (chunk: Buffer) => {
    running.touch();
    size += chunk.length;
    if (size <= MAX_STDOUT) stdout.push(chunk);
    else running.stop();
  });
  const end = await running.ended();
  if (size <= MAX_STDOUT) return { ...end, stdout: Buffer.concat(stdout) };
  throw new LongshoreError('E_SUBPROCESS', `${call.command} printed more than ${MAX_STDOUT} bytes`, {
    fields: { command: call.command },
  });
}

/**
 * What the program prints, as it comes; `check` is given its end and throws when that was no good one. Leaving the
 * iteration early stops the program.
 */
export async function* streamProgram(
  call: ProgramCall,
  check: (end: Omit<ProgramEnd, 'stdout'>) => void | Promise<void>,
): AsyncGenerator<Buffer, void, undefined> {
  const running = await startProgram(call);
  let complete = false;
  try {
    for await (const chunk of running.out) {
      running.hold();
      yield chunk as Buffer;
      running.letGo();
    }
    complete = true;
    await check(await running.ended());
  } finally {
    if (!complete) {
      running.stop();
      await running.ended().catch(() => undefined); // Why it was left is being thrown already.
    }
  }
}

interface Running extends Pick<Watchdog, 'touch' | 'hold' | 'letGo' | 'stop'> {
  readonly out: Readable;
  ended(): Promise<Omit<ProgramEnd, 'stdout'>>;
}

async function startProgram(call: ProgramCall): Promise<Running> {
  const { command, args, signal } = call;
  signal?.throwIfAborted();
  const child = spawn(command, [...args], {
    stdio: [call.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: environmentFor(),
  });
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  closed.catch(() => undefined); // A program that cannot be started is thrown by `spawned`.
  await spawned(child, command);
  const watch = watchdog(child, call);
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    const text = chunk.toString('utf8');
    if (call.onStderr?.(text) !== false) watch.touch();
    stderr = (stderr + text).slice(-MAX_STDERR);
  });
  const feeding = call.input === undefined ? Promise.resolve() : feed(child, call.input, watch);
  feeding.catch(watch.stop);
  const ended = (async () => {
    const [code] = await closed;
    watch.end();
    signal?.throwIfAborted();
    await feeding;
    return { code, stderr: stderr.trim(), stalled: watch.stalled() };
  })();
  ended.catch(() => undefined); // Thrown to whoever awaits it.
  return { ...watch, out: child.stdout as Readable, ended: () => ended };
}

async function spawned(child: ChildProcess, command: string): Promise<void> {
  try {
    await once(child, 'spawn');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new LongshoreError(
      code === 'ENOENT' || code === 'EACCES' ? 'E_TOOL_MISSING' : 'E_SUBPROCESS',
      `the program "${command}" cannot be started: ${(cause as Error).message}`,
      { fields: { command }, cause },
    );
  }
}

interface Watchdog {
  readonly touch: () => void;
  /** Until `letGo` the program waits for us, and not we for it. */
  readonly hold: () => void;
  readonly letGo: () => void;
  readonly stop: () => void;
  readonly stalled: () => boolean;
  readonly end: () => void;
}

function watchdog(child: ChildProcess, call: ProgramCall): Watchdog {
  const { signal, stall_seconds, watch } = call;
  let moved = performance.now();
  let held = false;
  let stalled = false;
  const stop = (): void => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS).unref();
  };
  const touch = (): void => {
    moved = performance.now();
  };
  const look = setInterval(
    () => {
      if (stalled || held || performance.now() - moved < stall_seconds * 1000) return;
      stalled = true;
      stop();
    },
    Math.min(1000, stall_seconds * 250),
  );
  let answered = true;
  const asking =
    watch === undefined
      ? null
      : setInterval(() => {
          // A question may be a program too: of an archive that hangs, one hangs and not another every few seconds.
          if (!answered) return;
          answered = false;
          // What cannot be asked just now says nothing; the stall ends it if it stays so.
          void watch
            .moved()
            .then(
              (yes) => yes && touch(),
              () => undefined,
            )
            .finally(() => {
              answered = true;
            });
        }, watch.every_seconds * 1000);
  signal?.addEventListener('abort', stop, { once: true });
  return {
    touch,
    hold: () => {
      held = true;
    },
    letGo: () => {
      held = false;
      touch();
    },
    stop,
    stalled: () => stalled,
    end: () => {
      clearInterval(look);
      if (asking !== null) clearInterval(asking);
      signal?.removeEventListener('abort', stop);
    },
  };
}

/** A program that ends before it has read everything says why itself: its closed pipe is no error of its own. */
async function feed(child: ChildProcess, input: AsyncIterable<Buffer>, watch: Watchdog): Promise<void> {
  const pipe = child.stdin;
  if (pipe === null) return;
  let open = true;
  let drained = Promise.withResolvers<void>();
  const over = (): void => {
    open = false;
    drained.resolve();
  };
  pipe.on('error', over);
  pipe.on('close', over);
  pipe.on('drain', () => drained.resolve());
  try {
    watch.hold();
    for await (const chunk of input) {
      if (!open) return;
      watch.letGo();
      drained = Promise.withResolvers();
      if (!pipe.write(chunk) && open) await drained.promise;
      watch.hold();
    }
    watch.letGo();
    pipe.end();
  } catch (error) {
    pipe.destroy();
    throw error;
  }
}

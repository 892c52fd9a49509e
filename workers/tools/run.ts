/** Runs an external program: an argument array and no shell, its output line by line to the process logs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { hintOf, noSpaceIn } from '../no-space.ts';
import type { LogLine } from '../records/contract.ts';
import type { ToolOptions, ToolResult } from '../tasks/contract.ts';
import { createDelivery, DELIVERY_LIMITS, type DeliveryLimits, type LogSink } from './delivery.ts';
import { environmentFor } from './environment.ts';
import { createLineSplitter } from './lines.ts';

export type { LogSink, ProcessInfo } from './delivery.ts';

export interface ToolCall {
  readonly command: string;
  readonly args: readonly string[];
  readonly options?: ToolOptions;
  /** SIGTERM to the program, then SIGKILL. What it started itself dies with the task's process group. */
  readonly signal: AbortSignal;
  readonly sink: LogSink;
  /** Told when lines could neither be delivered nor kept. */
  readonly onLoss?: (lines: number, cause: unknown) => void;
  readonly limits?: Partial<DeliveryLimits>;
  readonly kill_grace_seconds?: number;
}

const LAST_LINES = 20;
const SEEN_LINES = 100;
/** A process that the program left behind may hold its pipes open for ever. */
const PIPE_IDLE_MS = 2000;

/** @throws E_TOOL_MISSING, E_SUBPROCESS, E_NO_SPACE, or what the signal was aborted with */
export async function runTool(call: ToolCall): Promise<ToolResult> {
  const { command, args, options = {}, signal } = call;
  throwIfAborted(signal);
  const child = spawn(command, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environmentFor(options.env),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  await started(child, command, options.cwd);
  const stopKilling = killOnAbort(child, signal, call.kill_grace_seconds ?? 5);
  const output = collect(child, call);
  try {
    const [code, killed_by] = await exitOf(child);
    await pipesClosed(child, output.isPaused);
    const ending = await output.end();
    if (ending.lost_lines > 0) call.onLoss?.(ending.lost_lines, ending.cause);
    throwIfAborted(signal);
    const facts = { return_code: code, signal: killed_by, args: [command, ...args], ...ending };
    if (code !== 0) throw failure(command, facts, output.tail);
    if (output.overflow) throw tooMuchOutput(command, facts, options.capture_bytes ?? 0);
    return {
      process_id: ending.process_id,
      stdout: Buffer.concat(output.captured).toString(),
      seen: output.seen,
      lost_lines: ending.lost_lines,
    };
  } finally {
    stopKilling();
  }
}

function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  if (isLongshoreError(signal.reason)) throw signal.reason;
  throw new LongshoreError('E_REVOKED', 'the task was stopped while it ran a program', {
    cause: signal.reason,
  });
}

function started(child: ChildProcess, command: string, cwd: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause: NodeJS.ErrnoException) => {
      // A missing working folder gives the same ENOENT as a missing program.
      if (cwd !== undefined && !existsSync(cwd))
        reject(new LongshoreError('E_IO', `${command} cannot be run in ${cwd}: no such folder`, { cause }));
      else if (cause.code === 'ENOENT' || cause.code === 'EACCES')
        reject(
          new LongshoreError(
            'E_TOOL_MISSING',
            `the program "${command}" ${cause.code === 'ENOENT' ? 'was not found on this host' : 'may not be executed'}`,
            { fields: { command, errno: cause.code }, cause },
          ),
        );
      else
        reject(
          new LongshoreError('E_SUBPROCESS', `${command} could not be started: ${cause.message}`, { cause }),
        );
    });
  });
}

interface Output {
  readonly captured: Buffer[];
  readonly overflow: boolean;
  /** The last lines of stderr, oldest first. */
  readonly tail: string[];
  readonly seen: string[];
  readonly isPaused: () => boolean;
  readonly end: ReturnType<typeof createDelivery>['end'];
}

function collect(child: ChildProcess, call: ToolCall): Output {
  const pipes: Record<LogLine['level'], Readable> = {
    stdout: child.stdout as Readable,
    stderr: child.stderr as Readable,
  };
  const info = {
    command: call.command,
    args: call.args,
    pid: child.pid as number,
    start_time: new Date().toISOString(),
  };
  const delivery = createDelivery(call.sink, info, { ...DELIVERY_LIMITS, ...call.limits });
  const captured: Buffer[] = [];
  const tail: string[] = [];
  const seen: string[] = [];
  let space = call.options?.capture_bytes ?? 0;
  let overflow = false;
  let paused = false;
  const splitters = { stdout: createLineSplitter(), stderr: createLineSplitter() };
  const hand = (level: LogLine['level'], messages: readonly string[]): void => {
    const timestamp = new Date().toISOString();
    for (const message of messages) {
      if (level === 'stderr') tail.push(message);
      if (tail.length > LAST_LINES) tail.shift();
      if (seen.length < SEEN_LINES && call.options?.watch_for?.test(message)) seen.push(message);
      if (!delivery.push({ timestamp, level, message })) paused = true;
    }
    if (paused) for (const pipe of Object.values(pipes)) pipe.pause();
  };
  delivery.onRoom(() => {
    paused = false;
    for (const pipe of Object.values(pipes)) pipe.resume();
  });
  for (const level of ['stdout', 'stderr'] as const) {
    pipes[level].on('data', (chunk: Buffer) => {
      if (level === 'stdout' && space > 0) captured.push(chunk.subarray(0, space));
      if (level === 'stdout' && call.options?.capture_bytes) {
        overflow ||= chunk.length > space;
        space = Math.max(space - chunk.length, 0);
      }
      hand(level, splitters[level].push(chunk));
    });
  }
  return {
    captured,
    tail,
    seen,
    get overflow() {
      return overflow;
    },
    isPaused: () => paused,
    end: () => {
      for (const level of ['stdout', 'stderr'] as const) hand(level, splitters[level].end());
      return delivery.end();
    },
  };
}

function exitOf(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  if (child.exitCode !== null || child.signalCode !== null)
    return Promise.resolve([child.exitCode, child.signalCode]);
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve([code, signal]));
  });
}

/** Waits until both pipes have been read to their end, or nothing has come out of them for a while. */
function pipesClosed(child: ChildProcess, isPaused: () => boolean): Promise<void> {
  const pipes = [child.stdout as Readable, child.stderr as Readable].filter((pipe) => !pipe.readableEnded);
  if (pipes.length === 0) return Promise.resolve();
  return new Promise((resolve) => {
    let open = pipes.length;
    const done = (): void => {
      clearTimeout(timer);
      for (const pipe of pipes) pipe.destroy();
      resolve();
    };
    const timer = setTimeout(() => (isPaused() ? timer.refresh() : done()), PIPE_IDLE_MS);
    for (const pipe of pipes) {
      pipe.on('data', () => timer.refresh());
      pipe.once('end', () => {
        open -= 1;
        if (open === 0) done();
      });
    }
  });
}

function killOnAbort(child: ChildProcess, signal: AbortSignal, grace_seconds: number): () => void {
  let timer: NodeJS.Timeout | null = null;
  const kill = (): void => {
    child.kill('SIGTERM');
    timer ??= setTimeout(() => child.kill('SIGKILL'), grace_seconds * 1000);
  };
  signal.addEventListener('abort', kill);
  if (signal.aborted) kill();
  return () => {
    signal.removeEventListener('abort', kill);
    if (timer !== null) clearTimeout(timer);
  };
}

type Facts = { return_code: number | null; signal: NodeJS.Signals | null } & Record<string, unknown>;

const COMPLAINT = /fail|error|exception|cannot|denied|no such|not found/i;

/** Usually the last line; FastQC goes on with its other files, and tells of each that it has begun it. */
const reasonIn = (stderr: readonly string[]): string | undefined => {
  const last = stderr.at(-1);
  if (last === undefined || COMPLAINT.test(last)) return last;
  return stderr.find((line) => COMPLAINT.test(line)) ?? last;
};

function failure(command: string, facts: Facts, stderr: readonly string[]): LongshoreError {
  const { cause, lost_lines, ...fields } = facts;
  const end =
    facts.signal === null
      ? `exit code ${facts.return_code}`
      : `signal ${facts.signal} instead of exit code 0`;
  const full = noSpaceIn(stderr);
  const reason = full ?? reasonIn(stderr);
  return new LongshoreError(
    full === undefined ? 'E_SUBPROCESS' : 'E_NO_SPACE',
    `${command} ended with ${end}${reason === undefined ? '' : `: ${reason}`}`,
    {
      fields: { ...fields, stderr: [...stderr], ...(lost_lines === 0 ? {} : { lost_lines }) },
      cause: cause ?? undefined,
      ...hintOf(full),
    },
  );
}

function tooMuchOutput(command: string, facts: Facts, capture_bytes: number): LongshoreError {
  return new LongshoreError(
    'E_SUBPROCESS',
    `${command} wrote more than the ${capture_bytes} bytes that were expected of it`,
    { fields: { args: facts.args, process_id: facts.process_id, capture_bytes } },
  );
}

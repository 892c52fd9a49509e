import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LongshoreError, reportOf } from '../errors.ts';
import { blameFor, oomKills } from './losses.ts';
import type { Assignment, FromTask, Loaded, TaskReport, ToTask } from './messages.ts';
import { reapGroup, signalGroup, TASK_ID_VARIABLE } from './process-group.ts';

export type ChildEnding =
  | TaskReport
  /** We ended it: paused, revoked, timed out, lease lost, shutdown. */
  | { kind: 'stopped'; error: LongshoreError }
  /** It ended without a word: out of memory, a signal, a crash of the runtime. */
  | { kind: 'lost'; reason: string; blame: number; signal: NodeJS.Signals | null };

export interface TaskChild {
  readonly pid: number;
  /** What it has loaded; null when it ended before. Never rejects. */
  readonly loaded: Promise<Loaded | null>;
  /** After this the process group is gone. Never rejects. */
  readonly ended: Promise<ChildEnding>;
  /** Gives it its work. Until then it only loads. */
  start(assignment: Assignment): void;
  /** Aborts the task's signal and nothing else. */
  warn(error: LongshoreError): void;
  /** SIGTERM to the group, SIGKILL after the grace time. Repeated calls change nothing; all wait for the end. */
  stop(error: LongshoreError, grace_seconds: number): Promise<void>;
}

export interface Questions {
  /** Proves the lease; answers why not, or null. */
  lease: () => Promise<string | null>;
  permit: (resource: string, limit: number) => Promise<boolean>;
  overtaken: () => void;
}

/** How a process is to be started so that its limits hold from its first thread on. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
}

/** The program of a task's process, without the name of the task. */
export const TASK_PROGRAM: Launch = {
  command: process.execPath,
  args: [join(import.meta.dirname, 'task-process.ts')],
};

export interface ChildOptions {
  task: string;
  task_id: string;
  launch: Launch;
  /** Where Node keeps compiled and type-stripped code between processes. */
  cache: string;
}

export function startChild(options: ChildOptions, questions: Questions): TaskChild {
  const { task, task_id, launch, cache } = options;
  const child = spawn(launch.command, [...launch.args, task], {
    detached: true, // Leader of its own process group.
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [TASK_ID_VARIABLE]: task_id, NODE_COMPILE_CACHE: cache },
  });
  let report: TaskReport | null = null;
  let stopping: LongshoreError | null = null;
  let over = false;
  let here = false;
  const before = oomKills();
  const loaded = Promise.withResolvers<Loaded | null>();
  child.on('message', (message: FromTask) => {
    if (message.kind === 'lease') void answerLease(child, message.question, questions);
    else if (message.kind === 'permit') void answerPermit(child, message, questions);
    else if (message.kind === 'overtaken') questions.overtaken();
    else if (message.kind === 'loaded') loaded.resolve(message);
    else if (message.kind === 'here') here = true;
    else report = message;
  });
  const ended = exitOf(child).then(async ({ reason, signal }): Promise<ChildEnding> => {
    if (child.pid !== undefined) await reapGroup(child.pid);
    loaded.resolve(null);
    over = true; // From here on its number may belong to somebody else.
    // Finished work counts, even when the order to stop crossed it; the records decide whether they take it.
    if (report !== null && (report.kind !== 'failed' || stopping === null)) return report;
    if (stopping !== null) return { kind: 'stopped', error: stopping };
    if (!here && signal === null) return notBegun(reason);
    return { kind: 'lost', reason, signal, blame: blameFor(signal, { before, after: oomKills() }) };
  });
  return {
    pid: child.pid ?? 0,
    loaded: loaded.promise,
    ended,
    warn: (error) => tell(child, { kind: 'warn', error: reportOf(error) }),
    start: (assignment) => tell(child, { kind: 'start', assignment }),
    stop: async (error, grace_seconds) => {
      if (stopping === null && !over) {
        stopping = error;
        tell(child, { kind: 'stop', error: reportOf(error) });
        if (child.pid !== undefined) await endGroup(child.pid, ended, grace_seconds);
      }
      await ended;
    },
  };
}

const LOOK_AGAIN_MS = 5_000;

/** A file of the engine that is just being edited is no fault of the job, which must not be set aside for it. */
const notBegun = (reason: string): ChildEnding => ({
  kind: 'postponed',
  until: new Date(Date.now() + LOOK_AGAIN_MS).toISOString(),
  reason: `the engine could not be loaded, see the log of the worker: ${reason}`,
  progress: null,
});

async function endGroup(pgid: number, ended: Promise<unknown>, grace_seconds: number): Promise<void> {
  signalGroup(pgid, 'SIGTERM');
  const waiting = new AbortController();
  const grace = sleep(grace_seconds * 1000, undefined, { signal: waiting.signal }).catch(() => undefined);
  await Promise.race([ended, grace]);
  waiting.abort();
  signalGroup(pgid, 'SIGKILL');
}

async function answerLease(child: ChildProcess, question: number, questions: Questions): Promise<void> {
  const reason = await questions
    .lease()
    .catch((error: unknown) => `it could not be proven (${String(error)})`);
  tell(child, { kind: 'lease', question, held: reason === null, reason: reason ?? '' });
}

async function answerPermit(
  child: ChildProcess,
  { question, resource, limit }: Extract<FromTask, { kind: 'permit' }>,
  questions: Questions,
): Promise<void> {
  try {
    const granted = await questions.permit(resource, limit);
    tell(child, { kind: 'permit', question, granted, error: null });
  } catch (error) {
    tell(child, { kind: 'permit', question, granted: false, error: reportOf(error) });
  }
}

function tell(child: ChildProcess, message: ToTask): void {
  // A channel that is closed belongs to a process that is ending; its exit says all there is to say.
  if (child.connected) child.send(message, () => undefined);
}

interface Exit {
  readonly reason: string;
  readonly signal: NodeJS.Signals | null;
}

/** Resolves when the process has ended and its last message has arrived; says how it ended. */
function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once('error', (error) =>
      resolve({ reason: `its process could not be started: ${error.message}`, signal: null }),
    );
    child.once('exit', () => {
      // Its grandchildren may hold its pipes; they go with the group, or 'close' would never come.
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
    });
    child.once('close', (code, signal) => {
      const ended = `its process ended with exit code ${code} and no report`;
      resolve({ reason: signal === null ? ended : `its process was killed by ${signal}`, signal });
    });
  });
}

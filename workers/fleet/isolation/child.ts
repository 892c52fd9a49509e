import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../../config/index.ts';
import { type LongshoreError, reportOf } from '../../errors.ts';
import { agreementOf } from '../code/agreed-code.ts';
import { AGREEMENT_VARIABLE, DISAGREES } from './agreement.ts';
import { blameFor, oomKills, oomKillsBefore } from '../job/losses.ts';
import type { Assignment, FromTask, Loaded, TaskReport, ToTask, Work } from './messages.ts';
import { reapGroup, signalGroup, TASK_ID_VARIABLE, TASK_WORKER_VARIABLE } from './process-group.ts';

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
  /** After this the process group is gone, or waits for another attempt (`stays`). Never rejects. */
  readonly ended: Promise<ChildEnding>;
  /** Gives it its work. Until then it only loads. */
  start(work: Work, config: Config): void;
  /** Aborts the task's signal and nothing else. */
  warn(error: LongshoreError): void;
  /** SIGTERM to the group, SIGKILL after the grace time. Repeated calls change nothing; all wait for the end. */
  stop(error: LongshoreError, grace_seconds: number): Promise<void>;
}

/** An attempt in a process that may take others after it. */
export interface Attempting extends Omit<TaskChild, 'start'> {
  start(assignment: Assignment): void;
  /** Settled with `ended`: the process when it has said that it is as it was before, else null. */
  readonly stays: Promise<WarmProcess | null>;
}

/** A process that has run an attempt and waits for the next one. */
export interface WarmProcess {
  readonly pid: number;
  /** Attempts that it has run. */
  readonly served: number;
  readonly loaded: Loaded;
  readonly alive: boolean;
  serve(questions: Questions): Attempting;
  retire(): void;
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

/** Of the code that this process was started with. */
const AGREEMENT = agreementOf();

export interface ChildOptions {
  task: string;
  task_id: string;
  launch: Launch;
  /** Name of the worker that starts it. */
  worker: string;
  /** Where Node keeps compiled and type-stripped code between processes. */
  cache: string;
  /** Told of what is left of its process group after its end, though it was killed. */
  remain: (pgid: number, pids: readonly number[]) => void;
}

export function startChild(options: ChildOptions, questions: Questions): Attempting {
  const { task, task_id, launch, cache, worker, remain } = options;
  const child = spawn(launch.command, [...launch.args, task], {
    detached: true, // Leader of its own process group.
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: {
      ...process.env,
      [TASK_ID_VARIABLE]: task_id,
      [TASK_WORKER_VARIABLE]: worker,
      [AGREEMENT_VARIABLE]: AGREEMENT,
      NODE_COMPILE_CACHE: cache,
    },
  });
  const loaded = Promise.withResolvers<Loaded | null>();
  const program: Program = {
    child,
    loaded: loaded.promise,
    here: false,
    exit: null,
    hear: () => undefined,
    end: () => undefined,
  };
  child.on('message', (message: FromTask) => {
    if (message.kind === 'here') program.here = true;
    else if (message.kind === 'loaded') loaded.resolve(message);
    else program.hear(message);
  });
  void exitOf(child).then(async (exit) => {
    const left = child.pid === undefined ? [] : await reapGroup(child.pid);
    if (left.length > 0) remain(child.pid ?? 0, left);
    loaded.resolve(null);
    program.exit = exit;
    program.end(exit);
  });
  return serve(program, questions, 1);
}

interface Program {
  readonly child: ChildProcess;
  readonly loaded: Promise<Loaded | null>;
  /** The engine's part of its code is loaded. */
  here: boolean;
  /** How it ended; its process group is gone. */
  exit: Exit | null;
  /** Both are of the attempt that it runs now: what is said of it, and that the process group is gone. */
  hear: (message: AboutAttempt) => void;
  end: (exit: Exit) => void;
}

type AboutAttempt = Exclude<FromTask, { kind: 'here' | 'loaded' }>;

/** @param number of this attempt in its process, from 1 */
function serve(program: Program, questions: Questions, number: number): Attempting {
  const { child } = program;
  let report: TaskReport | null = null;
  let stopping: LongshoreError | null = null;
  let over = false;
  const before = oomKillsBefore();
  const end = Promise.withResolvers<{ ending: ChildEnding; stays: boolean }>();
  const settle = (ending: ChildEnding, stays: boolean): void => {
    over = true; // From here on its number may belong to somebody else, or to another attempt.
    end.resolve({ ending, stays });
  };
  program.hear = (message) => {
    if (message.kind === 'lease') void answerLease(child, message.question, questions);
    else if (message.kind === 'permit') void answerPermit(child, message, questions);
    else if (message.kind === 'overtaken') questions.overtaken();
    else {
      report = message.report;
      if (!message.stays) return; // It ends now, with what it started; program.end() takes the report.
      if (stopping === null) settle(report, true);
      // Told to stop when it had ended: it waits for work, and would do so for the whole time of grace.
      else if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
    }
  };
  program.end = (exit) => {
    const { reason, signal } = exit;
    // Finished work counts, even when the order to stop crossed it; the records decide whether they take it.
    if (report !== null && (report.kind !== 'failed' || stopping === null)) settle(report, false);
    else if (stopping !== null) settle({ kind: 'stopped', error: stopping }, false);
    else if (!program.here && signal === null) settle(notBegun(exit), false);
    else {
      const blame = blameFor(signal, { before, after: oomKills() });
      settle({ kind: 'lost', reason, signal, blame }, false);
    }
  };
  // It died while it waited, after it was chosen for this attempt: that is told once only, and no fault of the job.
  if (program.exit !== null) {
    const { reason, signal } = program.exit;
    settle({ kind: 'lost', reason, signal, blame: 0 }, false);
  }
  const ended = end.promise.then(({ ending }) => ending);
  return {
    pid: child.pid ?? 0,
    loaded: program.loaded,
    ended,
    stays: end.promise.then(async ({ stays }) => {
      const loaded = stays ? await program.loaded : null;
      return loaded === null ? null : warmProcess(program, loaded, number);
    }),
    warn: (error) => tell(child, { kind: 'warn', error: reportOf(error) }),
    start: (assignment) => tell(child, { kind: 'start', ...assignment }),
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

function warmProcess(program: Program, loaded: Loaded, served: number): WarmProcess {
  const { pid } = program.child;
  const alive = (): boolean => program.child.exitCode === null && program.child.signalCode === null;
  return {
    pid: pid ?? 0,
    served,
    loaded,
    get alive() {
      return alive();
    },
    serve: (questions) => serve(program, questions, served + 1),
    retire: () => {
      if (pid !== undefined && alive()) signalGroup(pid, 'SIGKILL');
    },
  };
}

const LOOK_AGAIN_MS = 5_000;

/** Neither a file of the engine that is just being edited nor an upgrade is a fault of the job, which must not be set aside for it. */
const notBegun = ({ reason, code }: Exit): ChildEnding => ({
  kind: 'postponed',
  until: new Date(Date.now() + LOOK_AGAIN_MS).toISOString(),
  reason:
    code === DISAGREES
      ? 'the code was exchanged under this worker, which must be restarted to run it'
      : `the engine could not be loaded, see the log of the worker: ${reason}`,
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
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Resolves when the process has ended and its last message has arrived; says how it ended. */
function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once('error', (error) =>
      resolve({ reason: `its process could not be started: ${error.message}`, code: null, signal: null }),
    );
    child.once('exit', () => {
      // Its grandchildren may hold its pipes; they go with the group, or 'close' would never come.
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
    });
    child.once('close', (code, signal) => {
      const ended = `its process ended with exit code ${code} and no report`;
      resolve({ reason: signal === null ? ended : `its process was killed by ${signal}`, code, signal });
    });
  });
}

import { createRequire } from 'node:module';
import type { Config } from '../../../config/index.ts';
import { deepFreeze } from '../../../config/of.ts';
import type { SomeRetryPolicy, SomeTaskLimits } from '../../../config/task-limits.ts';
import { errorFromReport, LongshoreError, reportOf } from '../../errors.ts';
import type * as logging from '../../log.ts';
import type { CodeVersion } from '../../records/contract.ts';
import { openStore, type Store } from '../../store.ts';
import {
  isPostponement,
  type Postponement,
  postpone,
  type Task,
  type TaskContext,
  type TaskReturn,
} from '../../tasks/contract.ts';
import { createLease, type Lease } from './lease.ts';
import type { Assignment, FromTask, TaskReport, ToTask, Work } from './messages.ts';
import { createTaskContext } from './task-context.ts';
import { watchTraces } from './traces.ts';

const WORD_AFTER_SIGNAL_MS = 200;
/** What an attempt may need later is loaded when it has shown that it is no short one. */
const LOAD_REST_MS = 1_000;

/** What a process runs. Called in this order, once. */
export interface TaskCode {
  /** @throws E_TASK_UNKNOWN when there is no such task */
  version(): CodeVersion;
  load(): Promise<Task>;
}

/** What is said to one attempt. */
interface Word {
  /** What the task sees: stopped, or warned by its soft time limit. */
  readonly stop: AbortController;
  /** Stopped. */
  readonly taken: AbortController;
  readonly lease: Lease;
}

/** Makes this process that of a task: it runs what its worker sends, until one of the two ends it. */
export function runAttempts(name: string, code: TaskCode): void {
  // The worker is gone: nobody renews the lease, so nothing of this group may go on, tools included.
  process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
  send({ kind: 'here' });
  const host = new AttemptHost(name, code);
  process.on('SIGTERM', () => host.signalled());
  process.on('message', (message: ToTask) => host.hear(message));
}

class AttemptHost {
  private readonly traces = watchTraces();
  private readonly ownLog: () => logging.Logger;
  private readonly loading: Promise<Task>;
  private word = newWord();
  private open: { store: Store; config: Config } | null = null;

  /** Loads while the worker does other things. */
  constructor(name: string, code: TaskCode) {
    /** Made for the first line, and once: loading it takes a fifth of what a process costs before it works. */
    this.ownLog = once(() => {
      const { createLogger } = createRequire(import.meta.url)('../../log.ts') as typeof logging;
      return createLogger(name);
    });
    this.loading = loaded(name, code);
    this.loading.catch(() => undefined); // Told when the task is to begin.
  }

  hear(message: ToTask): void {
    const { word } = this;
    if (message.kind === 'lease' || message.kind === 'permit') word.lease.answered(message);
    else if (message.kind === 'stop') abort(word, errorFromReport(message.error));
    else if (message.kind === 'warn') word.stop.abort(errorFromReport(message.error));
    else void this.perform(message);
  }

  /** The worker's word, which says why, may come a moment after its signal. */
  signalled(): void {
    const { word } = this;
    setTimeout(
      () => abort(word, new LongshoreError('E_REVOKED', 'the process of this task was told to stop')),
      WORD_AFTER_SIGNAL_MS,
    );
  }

  private async perform({ work, config, keep }: Assignment): Promise<void> {
    const { run, key, dataset_id } = work;
    const { workflow_id } = run;
    const log = once(() =>
      this.ownLog().child({ dataset_id, workflow_id, task_id: key.task_id, attempt: key.number }),
    );
    const report = await this.attempt(work, config, log).catch(
      (error: unknown): TaskReport => ({ kind: 'failed', error: reportOf(error) }),
    );
    if (keep && report.kind !== 'failed' && !this.word.stop.signal.aborted && this.traces.clean()) {
      this.word = newWord();
      send({ kind: 'over', report, stays: true });
      return;
    }
    // What is done is done, whatever its store says to the end.
    await this.open?.store
      .close()
      .catch((error: unknown) => log().warn({ err: error }, 'the store was not closed'));
    // Whatever the body left open (a timer, a socket) must not keep a finished task alive.
    process.send?.({ kind: 'over', report, stays: false } satisfies FromTask, () => process.exit(0));
  }

  private async attempt(work: Work, given: Config | null, log: () => logging.Logger): Promise<TaskReport> {
    const task = await this.loading;
    const { store, config } = await this.opened(given);
    // What the store needs to be open is no trace of the task.
    this.traces.begin();
    const { word } = this;
    // What cannot be loaded is told to who uses it, and is no end of an attempt that does not.
    const rest = setTimeout(() => void loadRest(log).catch(() => undefined), LOAD_REST_MS).unref();
    const { context, flush } = createTaskContext(work, {
      config,
      store,
      log,
      signal: word.stop.signal,
      assertLease: () => word.lease.assert(),
      permit: (resource, limit) => word.lease.permit(resource, limit),
      overtaken: () => {
        abort(
          word,
          new LongshoreError('E_LEASE_LOST', 'another attempt or a person has taken this step over'),
        );
        send({ kind: 'overtaken' });
      },
    });
    try {
      const full = await firstFull(task.needs ?? [], config.resources, context);
      return reportOfBody(full ?? (await task.run(context)), work);
    } finally {
      clearTimeout(rest);
      await flush();
    }
  }

  /** Once for all attempts: opening the store takes longer than a short task. */
  private async opened(given: Config | null): Promise<{ store: Store; config: Config }> {
    if (this.open !== null) return this.open;
    if (given === null) throw new Error('the first attempt of a process comes with the configuration');
    const config = deepFreeze(given);
    this.open = { config, store: await openStore(config) };
    return this.open;
  }
}

/** What was found is kept to, however long the task runs. */
async function loaded(name: string, code: TaskCode): Promise<Task> {
  let version: CodeVersion | null = null;
  let limits: SomeTaskLimits = {};
  let retry: SomeRetryPolicy = {};
  try {
    version = code.version();
    const task = await code.load();
    // The schema that checks them is large, and most tasks declare none.
    if (task.limits !== undefined) limits = (await import('./task-limits.ts')).declaredLimits(name, task);
    if (task.retry !== undefined) retry = (await import('../job/retry-policy.ts')).declaredRetry(name, task);
    return task;
  } finally {
    send({ kind: 'loaded', code: version, limits, retry });
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

function newWord(): Word {
  const taken = new AbortController();
  return { stop: new AbortController(), taken, lease: createLease(send, taken.signal) };
}

function abort({ stop, taken }: Word, reason: LongshoreError): void {
  if (!taken.signal.aborted) taken.abort(reason);
  if (!stop.signal.aborted) stop.abort(reason);
}

function send(message: FromTask): void {
  process.send?.(message);
}

/** Not a day later, when other code may be in its place. */
async function loadRest(log: () => logging.Logger): Promise<void> {
  log();
  await import('../../tools/run.ts');
}

const ASK_AGAIN_MS = 30_000;

/** What the task itself says it needs; its step may need more, which its worker has taken before. */
async function firstFull(
  needs: readonly string[],
  resources: Readonly<Record<string, number>>,
  { permit }: Pick<TaskContext, 'permit'>,
): Promise<Postponement | null> {
  for (const name of needs) {
    const limit = resources[name];
    // Not configured here: there is no limit.
    if (limit === undefined || (await permit(name, limit))) continue;
    return postpone(new Date(Date.now() + ASK_AGAIN_MS), `waits for one of ${limit} of the resource ${name}`);
  }
  return null;
}

function reportOfBody(value: TaskReturn | Postponement, { run }: Work): TaskReport {
  if (Array.isArray(value)) {
    if (value.length > 0) return { kind: 'result', result: [...value] };
  } else if (typeof value === 'object' && value !== null && isPostponement(value)) {
    const { until, reason, progress } = value.postpone;
    return { kind: 'postponed', until: until.toISOString(), reason, progress: progress ?? null };
  }
  throw new LongshoreError(
    'E_TASK_CRASHED',
    `task "${run.name}" returned ${JSON.stringify(value)}; expected a list that begins with the argument of the next step`,
    { class: 'fatal', hint: 'Correct its return value; see workers/tasks/contract.ts.' },
  );
}

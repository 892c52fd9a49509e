/**
 * The process of one attempt: a fresh one for each, in its own process group, so that it can be stopped with all it
 * started, cannot hold up its worker, and runs the code that is on disk now. The worker speaks over the IPC channel.
 */
import { deepFreeze } from '../../config/of.ts';
import type { SomeRetryPolicy, SomeTaskLimits } from '../../config/task-limits.ts';
import { errorFromReport, LongshoreError, reportOf } from '../errors.ts';
import { createLogger, type Logger } from '../log.ts';
import type { CodeVersion } from '../records/contract.ts';
import { openStore } from '../store.ts';
import {
  isPostponement,
  type Postponement,
  postpone,
  type Task,
  type TaskContext,
  type TaskReturn,
} from '../tasks/contract.ts';
import { loadTask, taskFile } from '../tasks/registry.ts';
import { CodeReader } from './code-graph.ts';
import { pinCode, versionOf } from './code-version.ts';
import { createLease } from './lease.ts';
import type { Assignment, FromTask, TaskReport, ToTask } from './messages.ts';
import { createTaskContext } from './task-context.ts';

const WORD_AFTER_SIGNAL_MS = 200;

const [name = ''] = process.argv.slice(2);
/** What the task sees: stopped, or warned by its soft time limit. */
const stop = new AbortController();
/** Stopped. */
const taken = new AbortController();
const lease = createLease(send, taken.signal);

// The worker is gone: nobody renews the lease, so nothing of this group may go on, tools included.
process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
// The worker's word, which says why, may come a moment after its signal.
process.on('SIGTERM', () =>
  setTimeout(
    () => abort(new LongshoreError('E_REVOKED', 'the process of this task was told to stop')),
    WORD_AFTER_SIGNAL_MS,
  ),
);
process.on('message', (message: ToTask) => {
  if (message.kind === 'lease' || message.kind === 'permit') lease.answered(message);
  else if (message.kind === 'stop') abort(errorFromReport(message.error));
  else if (message.kind === 'warn') stop.abort(errorFromReport(message.error));
  else void perform(message.assignment);
});

send({ kind: 'here' });
const loading = load();
loading.catch(() => undefined); // Told when the task is to begin.

/** Loads while the worker does other things, and keeps to what it found however long the task runs. */
async function load(): Promise<Task> {
  let code: CodeVersion | null = null;
  let limits: SomeTaskLimits = {};
  let retry: SomeRetryPolicy = {};
  try {
    const graph = new CodeReader().graph(taskFile(name));
    code = versionOf(graph);
    pinCode(graph);
    const task = await loadTask(name);
    // The schema that checks them is large, and most tasks declare none.
    if (task.limits !== undefined) limits = (await import('./task-limits.ts')).declaredLimits(name, task);
    if (task.retry !== undefined) retry = (await import('./retry-policy.ts')).declaredRetry(name, task);
    return task;
  } finally {
    send({ kind: 'loaded', code, limits, retry });
  }
}

function abort(reason: LongshoreError): void {
  if (!taken.signal.aborted) taken.abort(reason);
  if (!stop.signal.aborted) stop.abort(reason);
}

function send(message: FromTask): void {
  process.send?.(message);
}

async function perform(assignment: Assignment): Promise<void> {
  const { run, key } = assignment;
  const log = createLogger(run.name, {
    dataset_id: assignment.dataset_id,
    workflow_id: run.workflow_id,
    task_id: key.task_id,
    attempt: key.number,
  });
  const report = await attempt(assignment, log).catch(
    (error: unknown): TaskReport => ({ kind: 'failed', error: reportOf(error) }),
  );
  // Whatever the body left open (a timer, a socket) must not keep a finished task alive.
  process.send?.(report, () => process.exit(0));
}

async function attempt(assignment: Assignment, log: Logger): Promise<TaskReport> {
  const task = await loading;
  const config = deepFreeze(assignment.config);
  const store = await openStore(config);
  try {
    const { context, flush } = createTaskContext(assignment, {
      config,
      store,
      log,
      signal: stop.signal,
      assertLease: () => lease.assert(),
      permit: (resource, limit) => lease.permit(resource, limit),
      overtaken: () => {
        abort(new LongshoreError('E_LEASE_LOST', 'another attempt or a person has taken this step over'));
        send({ kind: 'overtaken' });
      },
    });
    try {
      const full = await firstFull(task.needs ?? [], config.resources, context);
      return reportOfBody(full ?? (await task.run(context)), assignment);
    } finally {
      await flush();
    }
  } finally {
    await store.close();
  }
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

function reportOfBody(value: TaskReturn | Postponement, { run }: Assignment): TaskReport {
  if (Array.isArray(value)) {
    if (value.length > 0) return { kind: 'result', result: [...value] };
  } else if (value !== undefined && value !== null && isPostponement(value)) {
    const { until, reason, progress } = value.postpone;
    return { kind: 'postponed', until: until.toISOString(), reason, progress: progress ?? null };
  }
  throw new LongshoreError(
    'E_TASK_CRASHED',
    `task "${run.name}" returned ${JSON.stringify(value)}; expected a list that begins with the argument of the next step`,
    { class: 'fatal', hint: 'Correct its return value; see workers/tasks/contract.ts.' },
  );
}

/** Runs and attempts: how they are read and closed; `claim` and `finish` are built from these. */
import type { ErrorReport } from '../errors.ts';
import type { Statements } from '../sqlite/database.ts';
import { now, toJson } from '../sqlite/values.ts';
import type { AttemptKey, AttemptOutcome } from './contract.ts';
import type { AttemptRow, RunRow, StepRow } from './sqlite-rows.ts';
import { move, type RunEvent, type RunState, STATUS_OF, stateOf } from './transition.ts';

/** A run, its newest attempt, and where that puts it in the table of transitions. */
export interface Standing {
  run: RunRow | null;
  attempt: AttemptRow | null;
  state: RunState;
}

export function standingOf(sql: Statements, task_id: string): Standing {
  const run = sql.get<RunRow>('select * from runs where task_id = ?', task_id) ?? null;
  const attempt =
    sql.get<AttemptRow>('select * from attempts where task_id = ? order by number desc limit 1', task_id) ??
    null;
  return { run, attempt, state: stateOf(run, attempt !== null && attempt.date_end === null) };
}

export const lastRunOf = (sql: Statements, workflow_id: string, position: number): RunRow | undefined =>
  sql.get<RunRow>(
    'select * from runs where workflow_id = ? and position = ? order by number desc limit 1',
    workflow_id,
    position,
  );

/** Where the attempt is the newest one and open; null when it comes too late. */
export function currentStanding(
  sql: Statements,
  key: AttemptKey,
): (Standing & { run: RunRow; attempt: AttemptRow }) | null {
  const { run, attempt, state } = standingOf(sql, key.task_id);
  if (run === null || attempt === null || state !== 'open' || attempt.number !== key.number) return null;
  return { run, attempt, state };
}

export function insertRun(
  sql: Statements,
  step: StepRow,
  given: { args: unknown[]; kwargs: Record<string, unknown>; worker: string; state: RunState },
): void {
  sql.run(
    `insert into runs (task_id, workflow_id, position, step, name, status, date_start, args, kwargs, worker, queue)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    step.next_task_id,
    step.workflow_id,
    step.position,
    step.name,
    step.task,
    STATUS_OF[given.state],
    now(),
    toJson(given.args),
    toJson(given.kwargs),
    given.worker,
    step.queue,
  );
}

export function closeAttempt(
  sql: Statements,
  key: AttemptKey,
  end: { outcome: AttemptOutcome; error?: ErrorReport; reason?: string; next_attempt_at?: string },
): void {
  sql.run(
    `update attempts set date_end = ?, outcome = ?, error = ?, reason = ?, next_attempt_at = ?
     where task_id = ? and number = ?`,
    now(),
    end.outcome,
    end.error === undefined ? null : toJson(end.error),
    end.reason ?? null,
    end.next_attempt_at ?? null,
    key.task_id,
    key.number,
  );
}

/** @param blame 0..1: how likely it is that the job itself brought its process down */
export function countLoss(sql: Statements, task_id: string, blame: number): void {
  sql.run(
    'update runs set losses = losses + 1, blame = blame + ?, result = null where task_id = ?',
    blame,
    task_id,
  );
}

/** Moves the run by the table; a final state gets its date. */
export function moveRun(
  sql: Statements,
  run: RunRow,
  from: RunState,
  event: RunEvent,
  outcome: { result: unknown; traceback?: string },
): void {
  const state = move(from, event);
  const final = state === 'success' || state === 'failure' || state === 'revoked';
  sql.run(
    'update runs set status = ?, result = ?, traceback = ?, date_done = ? where task_id = ?',
    STATUS_OF[state],
    toJson(outcome.result),
    outcome.traceback ?? null,
    final ? now() : null,
    run.task_id,
  );
}

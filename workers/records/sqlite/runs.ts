/** Runs and attempts: how they are read and closed; `claim` and `finish` are built from these. */
import type { ErrorReport } from '../../errors.ts';
import type { Statements } from '../../sqlite/database.ts';
import { now, toJson, toJsonOrNull } from '../../sqlite/values.ts';
import type { AttemptKey, AttemptOutcome } from '../contract.ts';
import type { AttemptRow, RunRow, StepRow } from './rows.ts';
import { move, type RunEvent, type RunState, STATUS_OF, stateOf } from '../transition.ts';

/** A run, its newest attempt, and where that puts it in the table of transitions. */
export interface Standing {
  run: RunRow | null;
  attempt: AttemptRow | null;
  state: RunState;
}

export const standingOf = (sql: Statements, task_id: string): Standing =>
  standingOfRun(sql, sql.get<RunRow>('select * from runs where task_id = ?', task_id));

export function standingOfRun(sql: Statements, run: RunRow | undefined): Standing {
  if (run === undefined) return { run: null, attempt: null, state: stateOf(null, false) };
  const attempt =
    sql.get<AttemptRow>(
      'select * from attempts where task_id = ? order by number desc limit 1',
      run.task_id,
    ) ?? null;
  return { run, attempt, state: stateOf(run, attempt !== null && attempt.date_end === null) };
}

export const lastRunOf = (sql: Statements, workflow_id: string, position: number): RunRow | undefined =>
  sql.get<RunRow>(
    'select * from runs where workflow_id = ? and position = ? order by number desc limit 1',
    workflow_id,
    position,
  );

/** Whether the attempt may still write: a new one is opened only after all before it were closed. */
export const isOpen = (sql: Statements, { task_id, number }: AttemptKey): boolean =>
  sql.get('select 1 from attempts where task_id = ? and number = ? and date_end is null', task_id, number) !==
  undefined;

export function insertRun(
  sql: Statements,
  step: StepRow,
  given: {
    args: unknown[];
    kwargs: Record<string, unknown>;
    worker: string;
    state: RunState;
    result?: object | null;
  },
): RunRow {
  const row = {
    task_id: step.next_task_id,
    workflow_id: step.workflow_id,
    position: step.position,
    step: step.name,
    name: step.task,
    status: STATUS_OF[given.state],
    date_start: now(),
    args: toJson(given.args),
    kwargs: toJson(given.kwargs),
    worker: given.worker,
    queue: step.queue,
    result: toJsonOrNull(given.result),
  };
  const { id } = sql.run(
    `insert into runs (task_id, workflow_id, position, step, name, status, date_start, args, kwargs, worker, queue,
       result)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...Object.values(row),
  );
  return {
    ...row,
    number: id,
    traceback: null,
    date_done: null,
    retries: 0,
    losses: 0,
    blame: 0,
  };
}

/** False: it is closed already, or there is none. */
export function closeAttempt(
  sql: Statements,
  key: AttemptKey,
  end: { outcome: AttemptOutcome; error?: ErrorReport; reason?: string; next_attempt_at?: string },
): boolean {
  const { changes } = sql.run(
    `update attempts set date_end = ?, outcome = ?, error = ?, reason = ?, next_attempt_at = ?
     where task_id = ? and number = ? and date_end is null`,
    now(),
    end.outcome,
    end.error === undefined ? null : toJson(end.error),
    end.reason ?? null,
    end.next_attempt_at ?? null,
    key.task_id,
    key.number,
  );
  return changes > 0;
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

/** What workers do: take a step, report on it, end it. Every function is one transaction. */
import type { Database, Statements } from '../../sqlite/database.ts';
import { fromJson, now, toJson, toJsonOrNull } from '../../sqlite/values.ts';
import type {
  AttemptKey,
  AttemptProcess,
  Claim,
  ClaimVerdict,
  Finish,
  Finished,
  NextStep,
  Records,
} from '../contract.ts';
import { failureOf, reportBy } from '../failure.ts';
import { isSetAside } from '../losses.ts';
import { closeOrphan, countLoss, shareOf } from './losses.ts';
import { type AttemptRow, attemptOf, type RunRow, runOf, type WorkflowRow } from './rows.ts';
import { closeAttempt, insertRun, isOpen, moveRun, standingOf, standingOfRun } from './runs.ts';
import { argsOf, kwargsOf, lastBegunRun, runsUpTo, stepRow } from './steps.ts';
import { insertWorkflow } from './workflows.ts';
import { move, type RunState, stateOf } from '../transition.ts';

type ClaimRecords = Pick<Records, 'claim' | 'running' | 'progress' | 'isCurrent' | 'finish' | 'attempts'>;

export function claimRecords(database: Database): ClaimRecords {
  return {
    claim: (claim, policy) => database.write((sql) => claimStep(sql, claim, policy.max_losses)),
    running: (key, process) => database.write((sql) => noteProcess(sql, key, process)),
    progress: (key, progress) =>
      database.write((sql) => {
        if (!isOpen(sql, key)) return false;
        sql.run('update runs set result = ? where task_id = ?', toJson(progress), key.task_id);
        return true;
      }),
    isCurrent: (key) => database.read((sql) => isOpen(sql, key)),
    finish: (key, finish) => database.write((sql) => finishAttempt(sql, key, finish)),
    attempts: (task_id) =>
      database.read((sql) =>
        sql
          .all<AttemptRow>('select * from attempts where task_id = ? order by number', task_id)
          .map(attemptOf),
      ),
  };
}

function claimStep(sql: Statements, claim: Claim, max_losses: number): ClaimVerdict {
  const workflow = sql.get<WorkflowRow>('select * from workflows where id = ?', claim.workflow_id);
  const step = stepRow(sql, claim.workflow_id, claim.index);
  if (workflow === undefined || step === undefined) return { verdict: 'missing' };
  const runs = runsUpTo(sql, step);
  const previous = runs.find(({ position }) => position === claim.index - 1);
  if (claim.index > 0 && previous?.status !== 'SUCCESS') return { verdict: 'early' };

  const standing = standingOfRun(
    sql,
    runs.find(({ task_id }) => task_id === step.next_task_id),
  );
  const { run, state } = standing;
  if (run !== null && state === 'success') return { verdict: 'done', result: fromJson(run.result ?? '[]') };
  if (run !== null && (state === 'failure' || state === 'revoked'))
    return { verdict: 'stopped', status: run.status };

  const orphan = closeOrphan(sql, standing, claim);
  const blamed = orphan === null ? run : standingOf(sql, step.next_task_id).run;
  if (blamed !== null && isSetAside(blamed, max_losses))
    return poison(sql, blamed, state, orphan, max_losses);

  move(state, 'claim');
  let begun: RunRow;
  if (run === null) {
    const again = runs.some(({ position }) => position === claim.index);
    const args = argsOf(workflow, step, again ? lastBegunRun(sql, step) : undefined, previous);
    begun = insertRun(sql, step, {
      args,
      kwargs: kwargsOf(workflow, step),
      worker: claim.worker,
      state: 'open',
      result: claim.process === undefined ? null : whereItRuns(claim.process),
    });
  } else {
    reopenRun(sql, run, claim.worker, state === 'retry');
    if (claim.process !== undefined) tellWhere(sql, run.task_id, claim.process);
    begun = sql.get<RunRow>('select * from runs where task_id = ?', run.task_id) as RunRow;
  }
  const key = openAttempt(sql, step.next_task_id, claim, run === null ? 1 : null);
  // Within a workflow that runs only its ends are news.
  if (workflow.status !== 'STARTED' || workflow.resume_lock !== null) {
    sql.run(
      "update workflows set status = 'STARTED', resume_lock = null, updated_at = ? where id = ?",
      now(),
      workflow.id,
    );
  }
  const { id, name, app_id, dataset_id } = workflow;
  return {
    verdict: 'run',
    key,
    run: runOf(begun),
    workflow: { id, name, app_id, dataset_id },
    orphan: orphan === null ? null : attemptOf(orphan),
  };
}

function poison(
  sql: Statements,
  row: RunRow,
  state: RunState,
  orphan: AttemptRow | null,
  max_losses: number,
): ClaimVerdict {
  const { losses } = row;
  const message = `step "${row.step}" lost its process ${losses} times (workflow.max_losses is ${max_losses})`;
  const report = reportBy('E_WORKER_LOST', message, { losses, max_losses, task_id: row.task_id });
  moveRun(sql, row, state, 'poison', { result: failureOf(report) });
  setWorkflowStatus(sql, row.workflow_id, 'FAILURE');
  return { verdict: 'poisoned', losses, orphan: orphan === null ? null : attemptOf(orphan) };
}

function reopenRun(sql: Statements, run: RunRow, worker: string, retried: boolean): void {
  sql.run(
    `update runs set status = 'STARTED', worker = ?, retries = retries + ?, traceback = null,
       result = case when ? then null else result end where task_id = ?`,
    worker,
    retried ? 1 : 0,
    retried ? 1 : 0,
    run.task_id,
  );
}

/** @param given its number, where that is known */
function openAttempt(sql: Statements, task_id: string, claim: Claim, given: number | null): AttemptKey {
  const { number } =
    given === null
      ? (sql.get('select ifnull(max(number), 0) + 1 as number from attempts where task_id = ?', task_id) as {
          number: number;
        })
      : { number: given };
  sql.run(
    'insert into attempts (task_id, number, worker, host, date_start, pgid, code) values (?, ?, ?, ?, ?, ?, ?)',
    task_id,
    number,
    claim.worker,
    claim.host,
    now(),
    claim.process?.pgid ?? null,
    toJsonOrNull(claim.process?.code),
  );
  return { task_id, number };
}

function noteProcess(sql: Statements, key: AttemptKey, process: AttemptProcess): boolean {
  const { changes } = sql.run(
    'update attempts set pgid = ?, code = ? where task_id = ? and number = ? and date_end is null',
    process.pgid,
    toJsonOrNull(process.code),
    key.task_id,
    key.number,
  );
  if (changes > 0) tellWhere(sql, key.task_id, process);
  return changes > 0;
}

const whereItRuns = ({ pid, hostname }: AttemptProcess) => ({ pid, hostname });

/** A postponed run keeps its last progress: the next look replaces it. */
function tellWhere(sql: Statements, task_id: string, process: AttemptProcess): void {
  sql.run(
    'update runs set result = ? where task_id = ? and result is null',
    toJson(whereItRuns(process)),
    task_id,
  );
}

function finishAttempt(sql: Statements, key: AttemptKey, finish: Finish): Finished | null {
  if (!closeAttempt(sql, key, finish)) return null;
  const run = sql.get<RunRow>('select * from runs where task_id = ?', key.task_id) as RunRow;
  const state = stateOf(run, true);
  let next: NextStep | null = null;
  switch (finish.outcome) {
    case 'success':
      moveRun(sql, run, state, 'success', { result: finish.result });
      next = stepAfter(sql, run);
      if (next !== null) setWorkflowStatus(sql, run.workflow_id, 'STARTED');
      else {
        setWorkflowStatus(sql, run.workflow_id, 'SUCCESS');
        for (const follower of finish.then ?? []) insertWorkflow(sql, follower);
      }
      break;
    case 'retry':
    case 'failure':
      moveRun(sql, run, state, finish.outcome, {
        result: failureOf(finish.error),
        traceback: finish.error.traceback,
      });
      setWorkflowStatus(sql, run.workflow_id, finish.outcome === 'failure' ? 'FAILURE' : 'STARTED');
      break;
    case 'postponed':
      move(state, 'postponed');
      if (finish.result !== undefined)
        sql.run('update runs set result = ? where task_id = ?', toJson(finish.result), key.task_id);
      break;
    case 'lost':
      move(state, 'lost');
      countLoss(sql, run, (finish.blame ?? 1) * shareOf(sql, run, null));
      break;
  }
  return { next };
}

function stepAfter(sql: Statements, run: RunRow): NextStep | null {
  const next = sql.get<NextStep>(
    'select position as "index", task, queue, priority from steps where workflow_id = ? and position = ?',
    run.workflow_id,
    run.position + 1,
  );
  return next === undefined ? null : { ...next };
}

/** An update that names the status writes it anew into two indexes, also where it stays as it is: with most steps. */
export function setWorkflowStatus(sql: Statements, id: string, status: WorkflowRow['status']): void {
  const kept = sql.run('update workflows set updated_at = ? where id = ? and status = ?', now(), id, status);
  if (kept.changes > 0) return;
  sql.run('update workflows set status = ?, updated_at = ? where id = ?', status, now(), id);
}

/** What people do to a workflow: pause, revoke, resume, prioritize. Every function is one transaction, synced to disk. */
import { LongshoreError } from '../../errors.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { now, toJsonOrNull } from '../../sqlite/values.ts';
import type { PauseAnswer, Records, ResumeAnswer, RunningAttempt } from '../contract.ts';
import { failureOf, reportBy } from '../failure.ts';
import { insertAudit } from './audit.ts';
import { setWorkflowStatus } from './claims.ts';
import type { WorkflowRow } from './rows.ts';
import { closeAttempt, insertRun, lastRunOf, moveRun, type Standing, standingOf } from './runs.ts';
import { argsOf, kwargsOf, lastBegunRun, pendingStep, previousRun } from './steps.ts';
import { newTaskId } from '../task-id.ts';
import { accepts, move, stateOf } from '../transition.ts';

type Resume = Parameters<Records['resume']>[1];
type Pause = Parameters<Records['pause']>[1];

export function lifecycleRecords(database: Database): Pick<Records, 'pause' | 'resume' | 'prioritize'> {
  return {
    pause: (id, options) => database.write((sql) => pause(sql, id, options), { durable: true }),
    resume: (id, options) => database.write((sql) => resume(sql, id, options), { durable: true }),
    prioritize: (id, options) => database.write((sql) => prioritize(sql, id, options), { durable: true }),
  };
}

function pause(sql: Statements, id: string, { actor, take_out, reason, task_id }: Pause): PauseAnswer {
  const workflow = workflowRow(sql, id);
  const step = pendingStep(sql, id);
  if (step === undefined) return { paused: false, running: null, index: -1 };
  if (task_id !== undefined && step.next_task_id !== task_id)
    return { paused: false, running: null, index: step.position };
  const action = take_out ? 'workflow.revoke' : 'workflow.pause';
  const audit = (details: Record<string, unknown>): void =>
    insertAudit(sql, { actor, action, subject: `workflow:${id}`, details: { step: step.name, ...details } });

  const standing = standingOf(sql, step.next_task_id);
  if (!accepts(standing.state, 'pause')) {
    if (take_out && workflow.revoked_at === null) {
      sql.run('update workflows set revoked_at = ?, updated_at = ? where id = ?', now(), now(), id);
      audit({ status: standing.run?.status, ...(reason === undefined ? {} : { reason }) });
    }
    return { paused: false, running: null, index: step.position };
  }
  if (standing.run === null) {
    const args = argsOf(workflow, step, lastBegunRun(sql, step), previousRun(sql, step));
    insertRun(sql, step, { args, kwargs: kwargsOf(workflow, step), worker: '', state: 'absent' });
  }
  const because = reason === undefined ? '' : `: ${reason}`;
  const why = `${take_out ? 'revoked' : 'paused'} by ${actor}${because}`;
  const running = revokeRun(sql, step.next_task_id, why);
  setWorkflowStatus(sql, id, 'REVOKED');
  sql.run(
    'update workflows set resume_lock = null, revoked_at = ifnull(revoked_at, ?) where id = ?',
    take_out ? now() : null,
    id,
  );
  audit({
    task_id: step.next_task_id,
    running: running !== null,
    ...(reason === undefined ? {} : { reason }),
  });
  return {
    paused: true,
    revoked_step: { task_id: step.next_task_id, task: step.task, name: step.name },
    running,
    index: step.position,
  };
}

function resume(sql: Statements, id: string, options: Resume): ResumeAnswer {
  const { actor, force, lock_seconds } = options;
  const workflow = workflowRow(sql, id);
  const step = pendingStep(sql, id);
  if (step === undefined) return { resumed: false, running: null, index: -1 };
  const refused: ResumeAnswer = { resumed: false, running: null, index: step.position };
  if (isLocked(workflow, lock_seconds)) return refused;

  // What a person sees of the step: its last run, also when an earlier resume was never taken up.
  const last = lastRunOf(sql, id, step.position);
  const shown: Standing =
    last === undefined
      ? { run: null, attempt: null, state: stateOf(null, false) }
      : standingOf(sql, last.task_id);
  if (!accepts(shown.state, force ? 'force' : 'resume')) return refused;

  let running: RunningAttempt | null = null;
  if (move(shown.state, force ? 'force' : 'resume') === 'revoked') {
    running = revokeRun(sql, step.next_task_id, `resumed by force by ${actor}`);
    setWorkflowStatus(sql, id, 'REVOKED');
  }
  const task_id = newTaskId();
  const args = lastBegunRun(sql, step) === undefined ? options.args : undefined;
  sql.run(
    'update steps set next_task_id = ?, args = ifnull(?, args) where workflow_id = ? and position = ?',
    task_id,
    toJsonOrNull(args),
    id,
    step.position,
  );
  sql.run(
    'update workflows set resume_lock = ?, revoked_at = null, updated_at = ? where id = ?',
    now(),
    now(),
    id,
  );
  insertAudit(sql, {
    actor,
    action: 'workflow.resume',
    subject: `workflow:${id}`,
    details: { step: step.name, task_id, force, ...(args === undefined ? {} : { args }) },
  });
  return {
    resumed: true,
    restarted_step: { name: step.name, task: step.task },
    running,
    index: step.position,
  };
}

function prioritize(
  sql: Statements,
  id: string,
  { actor, priority }: Parameters<Records['prioritize']>[1],
): { index: number } {
  workflowRow(sql, id);
  const step = pendingStep(sql, id);
  if (step === undefined) return { index: -1 };
  sql.run(
    'update steps set priority = ? where workflow_id = ? and position >= ?',
    priority,
    id,
    step.position,
  );
  sql.run('update workflows set updated_at = ? where id = ?', now(), id);
  insertAudit(sql, {
    actor,
    action: 'workflow.prioritize',
    subject: `workflow:${id}`,
    details: { step: step.name, from: step.priority, to: priority },
  });
  return { index: step.position };
}

/** The run becomes REVOKED; the attempt that was running is closed and returned. */
function revokeRun(sql: Statements, task_id: string, reason: string): RunningAttempt | null {
  const { run, attempt, state } = standingOf(sql, task_id);
  if (run === null) {
    throw new LongshoreError('E_WORKFLOW_STATE', `no run ${task_id} that could be revoked`);
  }
  const wasRunning = attempt !== null && state === 'open';
  if (wasRunning) closeAttempt(sql, attempt, { outcome: 'revoked', reason });
  // The reference's readers know a revoked task by this name.
  const failure = failureOf(reportBy('E_REVOKED', 'terminated', { reason }));
  moveRun(sql, run, state, 'pause', { result: { ...failure, exc_type: 'TaskRevokedError' } });
  if (!wasRunning) return null;
  const { number, worker, host, pgid } = attempt;
  return { task_id, number, worker, host, pgid };
}

function workflowRow(sql: Statements, id: string): WorkflowRow {
  const row = sql.get<WorkflowRow>('select * from workflows where id = ?', id);
  if (row !== undefined) return row;
  throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow "${id}"`, {
    fields: { workflow_id: id },
  });
}

const isLocked = ({ resume_lock }: WorkflowRow, lock_seconds: number): boolean =>
  resume_lock !== null && Date.now() - Date.parse(resume_lock) < lock_seconds * 1000;

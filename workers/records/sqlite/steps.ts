/** Steps as they are planned: which one is pending, and what its run is given. */
import type { Statements } from '../../sqlite/database.ts';
import { fromJson, fromJsonOrNull } from '../../sqlite/values.ts';
import type { RunRow, StepRow, WorkflowRow } from './rows.ts';
import { lastRunOf } from './runs.ts';

export const stepRows = (sql: Statements, workflow_id: string): StepRow[] =>
  sql.all<StepRow>('select * from steps where workflow_id = ? order by position', workflow_id);

export const stepRow = (sql: Statements, workflow_id: string, position: number): StepRow | undefined =>
  sql.get<StepRow>('select * from steps where workflow_id = ? and position = ?', workflow_id, position);

/** The first step whose last run is not SUCCESS; none when every step has succeeded. */
export const pendingStep = (sql: Statements, workflow_id: string): StepRow | undefined =>
  stepRows(sql, workflow_id).find((step) => lastRunOf(sql, workflow_id, step.position)?.status !== 'SUCCESS');

export const previousRun = (sql: Statements, step: StepRow): RunRow | undefined =>
  step.position === 0 ? undefined : lastRunOf(sql, step.workflow_id, step.position - 1);

/**
 * Of the step, then of the one before it, each the newest first: what a claim looks at, in one question instead of four. In
 * the order of the index; sorted by number alone it took three times as long.
 */
export const runsUpTo = (sql: Statements, { workflow_id, position }: StepRow): RunRow[] =>
  sql.all<RunRow>(
    `select * from runs where workflow_id = ? and position between ? and ?
     order by position desc, number desc`,
    workflow_id,
    position - 1,
    position,
  );

/**
 * What a new run of the step is given: what its last run was that began. For a step that has never begun what a resume
 * gave, else what the previous step handed on, else what the workflow was started with.
 */
export function argsOf(
  workflow: WorkflowRow,
  step: StepRow,
  begun: RunRow | undefined,
  previous: RunRow | undefined,
): unknown[] {
  if (begun !== undefined) return fromJson(begun.args);
  const given = fromJsonOrNull<unknown[]>(step.args);
  if (given !== null) return given;
  if (previous === undefined) return fromJson(workflow.args);
  return fromJson<unknown[]>(previous.result ?? '[]').slice(0, 1);
}

/** One that was paused before it began has no attempt. */
export const lastBegunRun = (sql: Statements, step: StepRow): RunRow | undefined =>
  sql.get<RunRow>(
    `select * from runs where workflow_id = ? and position = ?
       and exists (select 1 from attempts where task_id = runs.task_id) order by number desc limit 1`,
    step.workflow_id,
    step.position,
  );

/** Reserved over start over step. */
export function kwargsOf(workflow: WorkflowRow, step: StepRow): Record<string, unknown> {
  return {
    ...fromJson<Record<string, unknown>>(step.kwargs),
    ...fromJson<Record<string, unknown>>(workflow.start_kwargs),
    workflow_id: workflow.id,
    step: step.name,
    app_id: workflow.app_id,
  };
}

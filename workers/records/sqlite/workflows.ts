import type { Database, Statements } from '../../sqlite/database.ts';
import { toJson, toJsonOrNull } from '../../sqlite/values.ts';
import type {
  LiveWorkflow,
  OldWorkflow,
  Records,
  WorkflowDocument,
  WorkflowQuery,
  WorkflowStatus,
  WorkflowWithRuns,
} from '../contract.ts';
import { type RunRow, runOf, type StepRow, stepOf, type WorkflowRow, workflowOf } from './rows.ts';
import { statusesOf } from '../status.ts';
import { stepRows } from './steps.ts';

type WorkflowRecords = Pick<
  Records,
  | 'createWorkflow'
  | 'workflow'
  | 'workflowWithRuns'
  | 'listWorkflows'
  | 'countWorkflows'
  | 'liveWorkflows'
  | 'oldWorkflows'
  | 'deleteWorkflow'
>;

export function workflowRecords(database: Database): WorkflowRecords {
  return {
    createWorkflow: (workflow, options = {}) =>
      database.write((sql) => {
        const other = options.alone === true ? otherLiveId(sql, workflow) : undefined;
        if (other !== undefined) return loadWorkflow(sql, other);
        insertWorkflow(sql, workflow);
        return null;
      }),
    workflow: (id) => database.read((sql) => loadWorkflow(sql, id)),
    workflowWithRuns: (id, options = {}) =>
      database.read((sql) => {
        const row = sql.get<WorkflowRow>('select * from workflows where id = ?', id);
        return row === undefined ? null : (withRuns(sql, [row], options.prev_runs ?? false)[0] ?? null);
      }),
    listWorkflows: (query, options = {}) =>
      database.read((sql) => {
        const { total, rows } = selectWorkflows(sql, query);
        return { total, results: withRuns(sql, rows, options.prev_runs ?? false) };
      }),
    countWorkflows: (app_id) => database.read((sql) => countByStatus(sql, app_id)),
    liveWorkflows: (page) => database.read((sql) => liveWorkflows(sql, page)),
    oldWorkflows: (query, page) => database.read((sql) => oldWorkflows(sql, query, page)),
    deleteWorkflow: (id, { unless_running = false } = {}) =>
      database.write(
        (sql) => {
          const idle = unless_running ? ` and status <> 'STARTED' and resume_lock is null` : '';
          const removed = sql.run(`delete from workflows where id = ?${idle}`, id).changes;
          if (removed > 0) sql.run('delete from processes where workflow_id = ?', id);
          return removed;
        },
        { durable: true },
      ),
  };
}

/** Part of whatever transaction it is called in; an id that exists is left as it is. */
export function insertWorkflow(sql: Statements, workflow: WorkflowDocument): void {
  const inserted = sql.run(
    `insert into workflows (id, name, app_id, description, dataset_id, args, start_kwargs, status, resume_lock,
       revoked_at, initiator, created_at, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     on conflict (id) do nothing`,
    workflow.id,
    workflow.name,
    workflow.app_id,
    workflow.description,
    workflow.dataset_id,
    toJson(workflow.args),
    toJson(workflow.start_kwargs),
    workflow._status,
    workflow.resume_lock,
    workflow.revoked_at,
    workflow.initiator,
    workflow.created_at,
    workflow.updated_at,
  );
  if (inserted.changes === 0) return;
  for (const [position, step] of workflow.steps.entries()) {
    sql.run(
      `insert into steps (workflow_id, position, name, task, queue, kwargs, priority, next_task_id, args, needs)
       values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      workflow.id,
      position,
      step.name,
      step.task,
      step.queue,
      toJson(step.kwargs),
      step.priority,
      step.next_task_id,
      toJsonOrNull(step.args),
      toJsonOrNull(step.needs),
    );
  }
}

function otherLiveId(sql: Statements, { id, dataset_id }: WorkflowDocument): string | undefined {
  if (dataset_id === null) return undefined;
  return sql.get<{ id: string }>(
    `select id from workflows where dataset_id = ? and id <> ?
       and (status in ('PENDING', 'STARTED') or resume_lock is not null) order by number limit 1`,
    dataset_id,
    id,
  )?.id;
}

export function loadWorkflow(sql: Statements, id: string): WorkflowDocument | null {
  const row = sql.get<WorkflowRow>('select * from workflows where id = ?', id);
  if (row === undefined) return null;
  const runs = sql.all<Pick<RunRow, 'position' | 'task_id' | 'date_start'>>(
    'select position, task_id, date_start from runs where workflow_id = ? order by number',
    id,
  );
  return workflowOf(row, stepsOf(stepRows(sql, id), runs));
}

function stepsOf(
  steps: StepRow[],
  runs: Pick<RunRow, 'position' | 'task_id' | 'date_start'>[],
): WorkflowDocument['steps'] {
  return steps.map((step) =>
    stepOf(
      step,
      runs
        .filter((run) => run.position === step.position)
        .map(({ task_id, date_start }) => ({ task_id, date_start })),
    ),
  );
}

/** Steps and runs of a whole page in two queries. */
function withRuns(sql: Statements, rows: WorkflowRow[], prev: boolean): WorkflowWithRuns[] {
  const ids = toJson(rows.map((row) => row.id));
  const steps = Map.groupBy(
    sql.all<StepRow>(
      'select * from steps where workflow_id in (select value from json_each(?)) order by position',
      ids,
    ),
    (step) => step.workflow_id,
  );
  const runs = Map.groupBy(
    sql.all<RunRow>(
      'select * from runs where workflow_id in (select value from json_each(?)) order by number',
      ids,
    ),
    (run) => run.workflow_id,
  );
  return rows.map((row) => {
    const own = runs.get(row.id) ?? [];
    const workflow = workflowOf(row, stepsOf(steps.get(row.id) ?? [], own));
    const byStep = workflow.steps.map((_, position) => own.filter((run) => run.position === position));
    const last_runs = byStep.map((list) => {
      const last = list.at(-1);
      return last === undefined ? null : runOf(last);
    });
    return prev
      ? { workflow, last_runs, prev_runs: byStep.map((list) => list.slice(0, -1).map(runOf)) }
      : { workflow, last_runs };
  });
}

function selectWorkflows(sql: Statements, query: WorkflowQuery): { total: number; rows: WorkflowRow[] } {
  const conditions: string[] = [];
  const values: (string | number)[] = [];
  const where = (condition: string, value: string | number | undefined): void => {
    if (value === undefined) return;
    conditions.push(condition);
    values.push(value);
  };
  const statuses = query.status === undefined ? undefined : statusesOf(query.status);
  const byStatus = isByStatus(query, statuses);
  where(byStatus ? 'app_id = ?' : '+app_id = ?', query.app_id);
  where('dataset_id = ?', query.dataset_id);
  where('name = ?', query.name);
  where(
    'name in (select value from json_each(?))',
    query.names === undefined ? undefined : toJson(query.names),
  );
  where('created_at < ?', query.created_before);
  where(
    'id in (select value from json_each(?))',
    query.workflow_ids === undefined ? undefined : toJson(query.workflow_ids),
  );
  // A range, which the primary key answers; no digit comes after f and before g.
  where('id >= ?', query.id_prefix);
  where('id < ?', query.id_prefix === undefined ? undefined : `${query.id_prefix}g`);
  const status = byStatus ? 'status' : '+status';
  if (statuses?.length === 1) where(`${status} = ?`, statuses[0]);
  else if (statuses !== undefined) where(`${status} in (select value from json_each(?))`, toJson(statuses));
  if (query.revoked !== undefined) conditions.push(`revoked_at is ${query.revoked ? 'not null' : 'null'}`);
  const filter = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
  const direction = query.sort_order_asc === true ? 'asc' : 'desc';
  const total = sql.get<{ total: number }>(`select count(*) as total from workflows ${filter}`, ...values);
  const rows = sql.all<WorkflowRow>(
    `select * from workflows ${filter} order by created_at ${direction}, number ${direction} limit ? offset ?`,
    ...values,
    query.limit ?? 10,
    query.skip ?? 0,
  );
  return { total: total?.total ?? 0, rows };
}

/**
 * Whether the index on app and status is worth its use; a `+` keeps a column from being looked up. Nearly all workflows are of
 * one app and have succeeded, so by that index all that there ever were would be read and sorted for each page, which those
 * on the time, the dataset and the id spare.
 */
function isByStatus(
  { dataset_id, workflow_ids, id_prefix }: WorkflowQuery,
  statuses: readonly WorkflowStatus[] | undefined,
): boolean {
  const narrow = dataset_id ?? workflow_ids ?? id_prefix;
  if (statuses === undefined || narrow !== undefined) return false;
  // Of one status the index is in the order of time.
  return statuses.length === 1 || !statuses.includes('SUCCESS');
}

function countByStatus(sql: Statements, app_id: string | null): Record<WorkflowStatus, number> {
  const counts = { PENDING: 0, STARTED: 0, SUCCESS: 0, FAILURE: 0, REVOKED: 0 };
  const rows = sql.all<{ status: WorkflowStatus; count: number }>(
    'select status, count(*) as count from workflows where app_id = ? group by status',
    app_id,
  );
  for (const { status, count } of rows) counts[status] = count;
  return counts;
}

/** The pending step is the first whose last run is not SUCCESS. The filter's words are those of the partial index. */
function liveWorkflows(sql: Statements, page: { after?: string; limit?: number }): LiveWorkflow[] {
  const rows = sql.all<LiveWorkflow>(
    `select id, app_id,
       (select min(position) from steps where workflow_id = workflows.id and ifnull(
         (select status from runs where workflow_id = workflows.id and position = steps.position
          order by number desc limit 1), '') <> 'SUCCESS') as "index"
     from workflows
     where (status in ('PENDING', 'STARTED') or resume_lock is not null) and id > ?
     order by id limit ?`,
    page.after ?? '',
    page.limit ?? 1000,
  );
  return rows.map((row) => ({ ...row }));
}

function oldWorkflows(
  sql: Statements,
  { app_id, names, created_before }: Parameters<Records['oldWorkflows']>[0],
  { after, limit }: Parameters<Records['oldWorkflows']>[1],
): OldWorkflow[] {
  const rows = sql.all<OldWorkflow>(
    `select id, name, dataset_id, resume_lock, created_at, status from workflows
     where +app_id = ? and name in (select value from json_each(?)) and created_at < ? and (created_at, id) > (?, ?)
     order by created_at, id limit ?`,
    app_id,
    toJson(names),
    created_before,
    after?.created_at ?? '',
    after?.id ?? '',
    limit,
  );
  return rows.map((row) => ({ ...row }));
}

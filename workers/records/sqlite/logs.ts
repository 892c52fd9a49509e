/** Processes that tasks have started, and what they printed. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LongshoreError } from '../../errors.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { toJson } from '../../sqlite/values.ts';
import type { LogLine, Records } from '../contract.ts';

type LogRow = LogLine & { id: number; process_id: number; step: string };
type LogQuery = Parameters<Records['logs']>[0];

/** Lines per transaction: about 10 ms, in which nobody else can write. */
const LINES_AT_ONCE = 2_000;
const PROCESSES_AT_ONCE = 200;

export function logRecords(
  database: Database,
): Pick<Records, 'registerProcess' | 'appendLogs' | 'logs' | 'forgetLogs'> {
  return {
    registerProcess: (process) =>
      database.write(
        (sql) =>
          sql.run(
            `insert into processes (workflow_id, step, task_id, pid, hostname, start_time, tags)
             values (?, ?, ?, ?, ?, ?, ?)`,
            process.workflow_id,
            process.step,
            process.task_id,
            process.pid,
            process.hostname,
            process.start_time,
            toJson(process.tags),
          ).id,
      ),
    appendLogs: async (process_id, lines) => {
      for (let start = 0; start < lines.length; start += LINES_AT_ONCE) {
        if (start > 0) await nextTurn();
        const batch = lines.slice(start, start + LINES_AT_ONCE);
        await database.write((sql) => insertLines(sql, process_id, batch));
      }
    },
    logs: (query) => database.read((sql) => selectLines(sql, query)),
    forgetLogs: (before, limit) => database.write((sql) => forgetLines(sql, before, limit)),
  };
}

function insertLines(sql: Statements, process_id: number, lines: readonly LogLine[]): void {
  if (sql.get('select 1 from processes where id = ?', process_id) === undefined) {
    throw new LongshoreError(
      'E_WORKFLOW_NOT_FOUND',
      `process ${process_id} is not recorded (any more); ${lines.length} lines of it cannot be kept`,
      { fields: { process_id } },
    );
  }
  const insert = sql.prepare(
    'insert into log_lines (process_id, timestamp, level, message) values (?, ?, ?, ?)',
  );
  for (const { timestamp, level, message } of lines) insert.run(process_id, timestamp, level, message);
}

/**
 * One index range per process, merged: a single query over all processes of a workflow would sort everything that
 * is left for each page.
 */
function selectLines(sql: Statements, query: LogQuery): LogRow[] {
  const after = query.after ?? 0;
  const limit = query.limit ?? 1_000;
  const { workflow_id, task_id, process_id } = query;
  if (workflow_id === undefined && task_id === undefined && process_id === undefined) {
    const rows = sql.all<LogRow>(
      `select log_lines.id, process_id, step, timestamp, level, message
       from log_lines join processes on processes.id = process_id
       where log_lines.id > ? order by log_lines.id limit ?`,
      after,
      limit,
    );
    return rows.map((row) => ({ ...row }));
  }
  return selectProcesses(sql, query)
    .flatMap(({ id, step }) =>
      sql
        .all<Omit<LogRow, 'step'>>(
          `select id, process_id, timestamp, level, message from log_lines
           where process_id = ? and id > ? order by id limit ?`,
          id,
          after,
          limit,
        )
        .map((line) => ({ ...line, step })),
    )
    .sort((a, b) => a.id - b.id)
    .slice(0, limit);
}

function selectProcesses(sql: Statements, query: LogQuery): { id: number; step: string }[] {
  const conditions: string[] = [];
  const values: (string | number)[] = [];
  const columns = { workflow_id: query.workflow_id, task_id: query.task_id, id: query.process_id };
  for (const [column, value] of Object.entries(columns)) {
    if (value === undefined) continue;
    conditions.push(`${column} = ?`);
    values.push(value);
  }
  return sql.all(`select id, step from processes where ${conditions.join(' and ')} order by id`, ...values);
}

/** The first of all are looked at: ids are given in the order of time, which no index has. */
function forgetLines(sql: Statements, before: string, limit: number): number {
  const oldest = sql.all<{ id: number; start_time: string }>(
    'select id, start_time from processes order by id limit ?',
    PROCESSES_AT_ONCE,
  );
  let left = limit;
  for (const { id } of oldest.filter(({ start_time }) => start_time < before)) {
    const { changes } = sql.run(
      'delete from log_lines where id in (select id from log_lines where process_id = ? order by id limit ?)',
      id,
      left,
    );
    left -= changes;
    if (left <= 0) break;
    sql.run('delete from processes where id = ?', id);
  }
  return limit - left;
}

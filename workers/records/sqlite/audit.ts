import type { Database, Statements } from '../../sqlite/database.ts';
import { fromJson, now, toJson } from '../../sqlite/values.ts';
import type { AuditEntry, Records } from '../contract.ts';

type AuditRow = Omit<AuditEntry, 'details'> & { details: string };

export function auditRecords(database: Database): Pick<Records, 'audit' | 'auditLog'> {
  return {
    audit: (entry) => database.write((sql) => insertAudit(sql, entry)),
    auditLog: ({ subject, limit }) =>
      database.read((sql) =>
        sql
          .all<AuditRow>(
            `select at, actor, action, subject, details from audit
             where ${subject === undefined ? '? is null' : 'subject = ?'} order by id desc limit ?`,
            subject ?? null,
            limit ?? 100,
          )
          .map((row) => ({ ...row, details: fromJson<Record<string, unknown>>(row.details) })),
      ),
  };
}

/** Part of the transaction of what it tells about: no action without its entry, no entry without its action. */
export function insertAudit(sql: Statements, entry: Omit<AuditEntry, 'at'>): void {
  sql.run(
    'insert into audit (at, actor, action, subject, details) values (?, ?, ?, ?, ?)',
    now(),
    entry.actor,
    entry.action,
    entry.subject,
    toJson(entry.details),
  );
}

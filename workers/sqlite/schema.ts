import type { DatabaseSync } from 'node:sqlite';
import { LongshoreError } from '../errors.ts';

/**
 * The tables, as one list of versions: position n brings a file from version n to n+1. A version that has been
 * released is never edited; a change is a new one.
 *
 * JSON is kept as text. Times are ISO 8601 text with milliseconds, so that they sort as they are.
 */
export const VERSIONS: readonly string[] = [
  `
  -- autoincrement: an id is never given twice, because aliases and links are made from it.
  create table datasets (
    id integer primary key autoincrement,
    name text not null,
    type text not null,
    origin_path text not null,
    archive_path text,
    staged_path text,
    is_deleted integer not null default 0,
    is_staged integer not null default 0,
    du_size integer,
    size integer,
    num_files integer,
    num_directories integer,
    metadata text not null default '{}',
    description text,
    project_id text,
    create_method text,
    created_at text not null,
    updated_at text not null
  ) strict;
  create unique index datasets_alive on datasets (name, type) where is_deleted = 0;
  create index datasets_updated on datasets (updated_at, id);
  create index datasets_origin on datasets (origin_path);

  create table dataset_states (
    id integer primary key,
    dataset_id integer not null references datasets (id) on delete cascade,
    state text not null,
    timestamp text not null,
    metadata text not null
  ) strict;
  create index dataset_states_dataset on dataset_states (dataset_id, state, timestamp);

  create table bundles (
    dataset_id integer primary key references datasets (id) on delete cascade,
    name text not null,
    size integer not null,
    md5 text,
    digests text not null,
    verified_at text
  ) strict;

  create table reports (
    dataset_id integer primary key references datasets (id) on delete cascade,
    report_id text not null,
    path text not null
  ) strict;

  -- Generations are numbers in the rows of files: a million rows do not repeat a text.
  create table file_generations (
    id integer primary key,
    dataset_id integer not null references datasets (id) on delete cascade,
    name text not null,
    unique (dataset_id, name)
  ) strict;

  create table files (
    dataset_id integer not null references datasets (id) on delete cascade,
    path text not null,
    type text not null,
    size integer not null,
    md5 text,
    digests text not null,
    generation integer not null,
    primary key (dataset_id, path)
  ) strict, without rowid;

  create table workflows (
    number integer primary key autoincrement,
    id text not null unique,
    name text not null,
    app_id text not null,
    description text,
    dataset_id integer,
    args text not null,
    start_kwargs text not null,
    status text not null,
    resume_lock text,
    revoked_at text,
    initiator text not null,
    created_at text not null,
    updated_at text
  ) strict;
  create index workflows_dataset on workflows (dataset_id, name);
  create index workflows_status on workflows (app_id, status, created_at);
  create index workflows_created on workflows (created_at, number);
  create index workflows_live on workflows (id) where status in ('PENDING', 'STARTED') or resume_lock is not null;

  create table steps (
    workflow_id text not null references workflows (id) on delete cascade,
    position integer not null,
    name text not null,
    task text not null,
    queue text not null,
    kwargs text not null,
    priority integer not null,
    next_task_id text not null,
    args text,
    primary key (workflow_id, position)
  ) strict, without rowid;

  create table runs (
    number integer primary key autoincrement,
    task_id text not null unique,
    workflow_id text not null references workflows (id) on delete cascade,
    position integer not null,
    step text not null,
    name text not null,
    status text not null,
    result text,
    traceback text,
    date_start text not null,
    date_done text,
    args text not null,
    kwargs text not null,
    worker text not null,
    retries integer not null default 0,
    losses integer not null default 0,
    -- How far the job itself is to blame for its losses, see records/sqlite/claims.ts.
    blame real not null default 0,
    queue text not null
  ) strict;
  create index runs_step on runs (workflow_id, position, number);

  create table attempts (
    task_id text not null references runs (task_id) on delete cascade,
    number integer not null,
    worker text not null,
    host text not null,
    pgid integer,
    date_start text not null,
    date_end text,
    outcome text,
    error text,
    reason text,
    next_attempt_at text,
    primary key (task_id, number)
  ) strict, without rowid;

  create table processes (
    id integer primary key autoincrement,
    workflow_id text,
    step text not null,
    task_id text not null,
    pid integer not null,
    hostname text not null,
    start_time text not null,
    tags text not null
  ) strict;
  create index processes_workflow on processes (workflow_id);
  create index processes_task on processes (task_id);

  create table log_lines (
    id integer primary key autoincrement,
    process_id integer not null references processes (id) on delete cascade,
    timestamp text not null,
    level text not null,
    message text not null
  ) strict;
  create index log_lines_process on log_lines (process_id, id);

  create table audit (
    id integer primary key autoincrement,
    at text not null,
    actor text not null,
    action text not null,
    subject text not null,
    details text not null
  ) strict;
  create index audit_subject on audit (subject, id);

  create table watched (
    source text not null,
    name text not null,
    primary key (source, name)
  ) strict, without rowid;

  create table notes (
    key text primary key,
    value text not null
  ) strict, without rowid;
  `,
  `
  create table copies (
    dataset_id integer not null references datasets (id) on delete cascade,
    archive text not null,
    key text not null,
    size integer not null,
    digests text not null,
    stored_at text not null,
    verified_at text,
    verified_how text,
    primary key (dataset_id, archive)
  ) strict, without rowid;
  create index copies_verified on copies (verified_at);

  -- The fixity ledger: only ever added to. No foreign key: what was found outlives the dataset.
  create table proofs (
    id integer primary key autoincrement,
    dataset_id integer not null,
    archive text not null,
    key text not null,
    at text not null,
    level text not null,
    result text not null,
    bytes integer not null,
    seconds real not null,
    actor text not null,
    details text not null
  ) strict;
  create index proofs_dataset on proofs (dataset_id, id);
  create index proofs_result on proofs (result, id) where result <> 'ok';

  -- What the inspection saw of the file beside its size: one that looks the same keeps its digests.
  alter table files add column fingerprint text;
  `,
  `
  -- Resources that a step holds while it runs, as a JSON list; null for none.
  alter table steps add column needs text;

  -- The code that the attempt ran, as JSON.
  alter table attempts add column code text;
  `,
  `
  -- Who lost its process lately: a job is less to blame where others lose theirs, too.
  create index attempts_lost on attempts (date_end) where outcome = 'lost';
  `,
  `
  -- What else a lost worker was running, or had running when it was lost: few of all attempts, and only these are indexed.
  create index attempts_open on attempts (worker) where date_end is null;
  create index attempts_lost_of on attempts (worker) where outcome = 'lost';

  -- Findings about a copy, among years of proofs that found nothing.
  create index proofs_failed on proofs (dataset_id, archive, key) where result <> 'ok';

  -- A person names datasets whatever the case.
  create index datasets_name on datasets (name collate nocase);
  `,
];

/** Of the files that this release writes. */
export const SCHEMA_VERSION = VERSIONS.length;

/** Brings the file to the newest version; of many processes that open a new file at once, one does it. */
export function migrate(connection: DatabaseSync): void {
  if (versionOf(connection) === VERSIONS.length) return;
  connection.exec('begin immediate');
  try {
    const version = versionOf(connection);
    if (version > VERSIONS.length) {
      throw new LongshoreError(
        'E_OUTDATED',
        `the catalog file has version ${version}; this Longshore knows versions up to ${VERSIONS.length}`,
        { fields: { version, known: VERSIONS.length } },
      );
    }
    for (const statements of VERSIONS.slice(version)) connection.exec(statements);
    connection.exec(`pragma user_version = ${VERSIONS.length}`);
    connection.exec('commit');
  } catch (error) {
    if (connection.isTransaction) connection.exec('rollback');
    throw error;
  }
}

function versionOf(connection: DatabaseSync): number {
  return (connection.prepare('pragma user_version').get() as { user_version: number }).user_version;
}

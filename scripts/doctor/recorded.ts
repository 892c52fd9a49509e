/** What is recorded, held against the configuration of now: a key that was renamed or left out since is met by nobody else. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Config } from '../../config/index.ts';
import { pathsOf } from '../../config/of.ts';
import { rootsOf } from '../../workers/archive/index.ts';
import { isBelow, resolved } from '../../workers/dataset/paths.ts';
import { SCHEMA_VERSION } from '../../workers/sqlite/schema.ts';
import { taskFile } from '../../workers/tasks/registry.ts';
import { configuredQueues } from '../../workers/workflows/definition.ts';
import { type Finding, finding } from './finding.ts';

/** Read by hand, as catalog.ts does: the store would bring an old file to the newest version. */
export async function* recordedFindings(config: Config): AsyncGenerator<Finding> {
  const { backend, path } = config.catalog;
  if (backend !== 'sqlite' || !existsSync(path)) return;
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    const version = Object.values(database.prepare('pragma user_version').get() ?? {})[0];
    if (version !== SCHEMA_VERSION) return; // What is wrong with that, catalog.schema says.
    yield judgeTypes(config, database);
    yield judgeArchives(config, database);
    yield judgeBundles(config, database);
    yield judgeStaged(config, database);
    if (config.records.backend !== 'sqlite') return;
    yield judgeQueues(config, database);
    yield judgeTasks(config, database);
  } finally {
    database.close();
  }
}

interface Counted {
  readonly name: string;
  readonly count: number;
}

const counts = (database: DatabaseSync, sql: string, ...values: string[]): Counted[] =>
  database.prepare(sql).all(...values) as unknown as Counted[];

/** `GENOME (12), OTHER (1)`. */
const listed = (found: readonly Counted[]): string =>
  found.map(({ name, count }) => `${name} (${count})`).join(', ');

function judge(
  id: string,
  found: readonly Counted[],
  {
    level,
    known,
    what,
    remedy,
  }: { level: 'warning' | 'problem'; known: string; what: string; remedy: string },
): Finding {
  return finding(found.length === 0 ? 'ok' : level, id, {
    seen: found.length === 0 ? known : `${what}: ${listed(found)}`,
    expected: known,
    remedy,
  });
}

function judgeTypes({ dataset_types }: Config, database: DatabaseSync): Finding {
  const all = counts(
    database,
    'select type as name, count(*) as count from datasets where is_deleted = 0 group by type',
  );
  return judge(
    'recorded.types',
    all.filter(({ name }) => !dataset_types.includes(name)),
    {
      level: 'problem',
      known: 'datasets are of types that dataset_types names',
      what: 'datasets of types that dataset_types does not name',
      remedy:
        'Name them again, with their folders: until then these datasets are neither staged, purged nor deleted.',
    },
  );
}

function judgeArchives({ archive: { backends } }: Config, database: DatabaseSync): Finding {
  const all = counts(
    database,
    `select archive as name, count(*) as count from copies join datasets on datasets.id = copies.dataset_id
     where is_deleted = 0 group by archive`,
  );
  return judge(
    'recorded.archives',
    all.filter(({ name }) => !Object.hasOwn(backends, name)),
    {
      level: 'problem',
      known: 'copies lie in archives that archive.backends names',
      what: 'copies in archives that archive.backends does not name',
      remedy:
        'Name them again, as they were (archive.copies may leave them out): else nothing reads them. Of one that is gone for good: npx longshore write-off <archive>.',
    },
  );
}

/** One in a former place is read as long as that is there. */
function judgeBundles(config: Config, database: DatabaseSync): Finding {
  const roots = rootsOf(config);
  const gone = new Map<string, number>();
  for (const [name, options] of Object.entries(config.archive.backends)) {
    if (options.kind !== 'filesystem' || (options.root ?? '') !== '') continue;
    const keys = database.prepare('select key from copies where archive = ?').iterate(name);
    for (const { key } of keys as Iterable<{ key: string }>)
      if (!roots.some((root) => isBelow(root, key)))
        gone.set(dirname(key), (gone.get(dirname(key)) ?? 0) + 1);
  }
  const found = [...gone].map(([name, count]) => ({ name, count })).filter(({ name }) => !existsSync(name));
  return judge('recorded.bundles', found, {
    level: 'problem',
    known: 'bundles are recorded where paths.<TYPE>.archive is, or in folders that are there',
    what: 'bundles in folders that are not there, and that the configuration names no more',
    remedy: 'Mount or link the old place (docs/recovery.md), or correct paths.<TYPE>.archive.',
  });
}

function judgeStaged(config: Config, database: DatabaseSync): Finding {
  const rows = database
    .prepare('select type, staged_path from datasets where is_deleted = 0 and staged_path is not null')
    .iterate() as Iterable<{ type: string; staged_path: string }>;
  const elsewhere = new Map<string, number>();
  for (const { type, staged_path } of rows) {
    if (!config.dataset_types.includes(type)) continue;
    const root = resolved(pathsOf(config, type).stage);
    if (isBelow(root, join(resolved(dirname(staged_path)), 'any'))) continue;
    elsewhere.set(type, (elsewhere.get(type) ?? 0) + 1);
  }
  const found = [...elsewhere].map(([name, count]) => ({ name, count }));
  return judge('recorded.staged', found, {
    level: 'warning',
    known: 'staged copies lie below paths.<TYPE>.stage',
    what: 'staged copies that do not lie below paths.<TYPE>.stage',
    remedy:
      'They are served where they are, and no purge removes them. Link the old folder to the new one after moving it, or purge before the folder is changed.',
  });
}

const LIVE = `from steps join workflows on workflows.id = steps.workflow_id
  where workflows.app_id = ? and status in ('PENDING', 'STARTED')`;

function judgeQueues(config: Config, database: DatabaseSync): Finding {
  const all = counts(
    database,
    `select queue as name, count(distinct workflow_id) as count ${LIVE} group by queue`,
    config.app_id,
  );
  const known = new Set(configuredQueues(config));
  return judge(
    'recorded.queues',
    all.filter(({ name }) => !known.has(name)),
    {
      level: 'problem',
      known: 'workflows that are under way use queues that the configuration names',
      what: 'workflows that are under way use queues that the configuration does not name',
      remedy: 'Name them in workers.<app>.queues until they are empty, or revoke these workflows.',
    },
  );
}

function judgeTasks(config: Config, database: DatabaseSync): Finding {
  const all = counts(
    database,
    `select task as name, count(distinct workflow_id) as count ${LIVE} group by task`,
    config.app_id,
  );
  return judge(
    'recorded.tasks',
    all.filter(({ name }) => !hasFile(name)),
    {
      level: 'problem',
      known: 'workflows that are under way name tasks that this host has',
      what: 'workflows that are under way name tasks that this host does not have',
      remedy:
        'Put the file of the task back (workers/tasks/, LONGSHORE_TASKS_PATH), or revoke these workflows.',
    },
  );
}

function hasFile(task: string): boolean {
  try {
    return existsSync(taskFile(task));
  } catch {
    return false;
  }
}

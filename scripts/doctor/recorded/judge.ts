/** What is recorded, held against the configuration of now: a key that was renamed or left out since is met by nobody else. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Config, pathsOf, usesSqlite } from '../../../config/index.ts';
import { rootsOf } from '../../../workers/archive/index.ts';
import { isBelow, resolved } from '../../../workers/dataset/paths.ts';
import { taskFile } from '../../../workers/tasks/registry.ts';
import { configuredQueues } from '../../../workers/workflows/definition.ts';
import { type Finding, finding } from '../finding.ts';
import type { Counted, Recorded } from './contract.ts';
import { sqliteRecorded } from './sqlite.ts';

export async function* recordedFindings(config: Config): AsyncGenerator<Finding> {
  const recorded = await open(config);
  if (recorded === null) return;
  try {
    yield await judgeTypes(config, recorded);
    yield await judgeArchives(config, recorded);
    yield await judgeBundles(config, recorded);
    yield await judgeStaged(config, recorded);
    yield await judgeQueues(config, recorded);
    yield await judgeTasks(config, recorded);
  } finally {
    await recorded.close();
  }
}

/** Behind the REST API, that of this installation: copies and workflows are recorded there, and what the API said last. */
async function open(config: Config): Promise<Recorded | null> {
  if (usesSqlite(config)) return sqliteRecorded(config.catalog.path);
  // The driver is loaded where it is used.
  return (await import('./mongodb.ts')).mongodbRecorded(config);
}

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

async function judgeTypes({ dataset_types }: Config, recorded: Recorded): Promise<Finding> {
  const all = await recorded.types();
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

async function judgeArchives({ archive: { backends } }: Config, recorded: Recorded): Promise<Finding> {
  const all = await recorded.archives();
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
async function judgeBundles(config: Config, recorded: Recorded): Promise<Finding> {
  const roots = rootsOf(config);
  const gone = new Map<string, number>();
  for (const [name, options] of Object.entries(config.archive.backends)) {
    if (options.kind !== 'filesystem' || (options.root ?? '') !== '') continue;
    for await (const key of recorded.keys(name))
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

async function judgeStaged(config: Config, recorded: Recorded): Promise<Finding> {
  const elsewhere = new Map<string, number>();
  for await (const { type, staged_path } of recorded.staged()) {
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

async function judgeQueues(config: Config, recorded: Recorded): Promise<Finding> {
  const all = await recorded.queues(config.app_id);
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

async function judgeTasks(config: Config, recorded: Recorded): Promise<Finding> {
  const all = await recorded.tasks(config.app_id);
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

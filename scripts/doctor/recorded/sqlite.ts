import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { SCHEMA_VERSION } from '../../../workers/sqlite/schema.ts';
import type { Counted, Recorded, StagedCopy } from './contract.ts';

const LIVE = `from steps join workflows on workflows.id = steps.workflow_id
  where workflows.app_id = ? and status in ('PENDING', 'STARTED')`;

/**
 * Read by hand, as catalog.ts does: the store would bring an old file to the newest version.
 *
 * @returns null where no file of this version is: what is wrong with that, catalog.schema says.
 */
export function sqliteRecorded(path: string): Recorded | null {
  if (!existsSync(path)) return null;
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  if (Object.values(database.prepare('pragma user_version').get() ?? {})[0] !== SCHEMA_VERSION) {
    database.close();
    return null;
  }
  const counts = async (sql: string, ...values: string[]): Promise<Counted[]> =>
    database.prepare(sql).all(...values) as unknown as Counted[];
  return {
    types: () =>
      counts('select type as name, count(*) as count from datasets where is_deleted = 0 group by type'),
    archives: () =>
      counts(
        `select archive as name, count(*) as count from copies join datasets on datasets.id = copies.dataset_id
         where is_deleted = 0 group by archive`,
      ),
    async *keys(archive) {
      const rows = database
        .prepare(
          `select key from copies join datasets on datasets.id = copies.dataset_id
           where is_deleted = 0 and archive = ?`,
        )
        .iterate(archive);
      for (const { key } of rows as Iterable<{ key: string }>) yield key;
    },
    async *staged() {
      yield* database
        .prepare('select type, staged_path from datasets where is_deleted = 0 and staged_path is not null')
        .iterate() as Iterable<unknown> as Iterable<StagedCopy>;
    },
    queues: (app_id) =>
      counts(`select queue as name, count(distinct workflow_id) as count ${LIVE} group by queue`, app_id),
    tasks: (app_id) =>
      counts(`select task as name, count(distinct workflow_id) as count ${LIVE} group by task`, app_id),
    close: async () => database.close(),
  };
}

/** What runs of a task took that nothing disturbed, as a measure for the next one. */
import type { Database } from '../../sqlite/database.ts';
import type { CleanRun, Records } from '../contract.ts';

/** Looked at from the newest on: an index on the name would be written for every run, and read by a few people a day. */
const LOOK_BACK = 20_000;

export function cleanRunRecords(database: Database): Pick<Records, 'cleanRuns'> {
  return {
    // One attempt only: what a second one took says nothing about the whole, since it may have gone on with the first.
    cleanRuns: ({ task, limit }) =>
      database.read((sql) =>
        sql
          .all<CleanRun>(
            `select workflows.dataset_id, attempts.date_start, attempts.date_end as date_done
             from runs join workflows on workflows.id = runs.workflow_id
               join attempts on attempts.task_id = runs.task_id and attempts.outcome = 'success'
             where runs.number > (select ifnull(max(number), 0) - ? from runs)
               and runs.name = ? and runs.status = 'SUCCESS' and runs.retries = 0 and runs.losses = 0
               and workflows.dataset_id is not null
             order by runs.number desc limit ?`,
            LOOK_BACK,
            task,
            limit,
          )
          .map((row) => ({ ...row })),
      ),
  };
}

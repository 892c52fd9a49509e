import type { Mongo } from '../../mongodb/connection.ts';
import type { CleanRun, Records } from '../contract.ts';
import { auditRecords } from './audit.ts';
import { claimRecords } from './claims.ts';
import { deletionRecords } from './deletion.ts';
import { lifecycleRecords } from './lifecycle.ts';
import { logRecords } from './logs.ts';
import { runsOf } from './runs.ts';
import { noteRecords, watchMemory } from './watch.ts';
import { workflowRecords } from './workflows.ts';

/** Records in the database that `mongo` has open; closing them closes it. */
export function mongodbRecords(mongo: Mongo): Records {
  return {
    ...workflowRecords(mongo),
    ...claimRecords(mongo),
    ...lifecycleRecords(mongo),
    ...deletionRecords(mongo),
    ...logRecords(mongo),
    ...auditRecords(mongo),
    ...noteRecords(mongo),
    cleanRuns: (query) => cleanRuns(mongo, query),
    watch: watchMemory(mongo),
    close: () => mongo.close(),
  };
}

/** What runs of a task took that nothing disturbed; the time of the attempt that did it, not of waits before it. */
async function cleanRuns(
  mongo: Mongo,
  { task, limit }: { task: string; limit: number },
): Promise<CleanRun[]> {
  if (limit <= 0) return [];
  const found = await mongo.run(() =>
    runsOf(mongo)
      .find({ name: task, status: 'SUCCESS', retries: 0, losses: 0, dataset_id: { $gte: 0 } })
      .sort({ order: -1 })
      .limit(limit)
      .toArray(),
  );
  return found.flatMap(({ dataset_id, attempt }) =>
    typeof dataset_id === 'number' && attempt?.date_end
      ? [{ dataset_id, date_start: attempt.date_start, date_done: attempt.date_end }]
      : [],
  );
}

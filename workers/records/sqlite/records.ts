import type { Database } from '../../sqlite/database.ts';
import type { Records } from '../contract.ts';
import { auditRecords } from './audit.ts';
import { claimRecords } from './claims.ts';
import { cleanRunRecords } from './clean-runs.ts';
import { lifecycleRecords } from './lifecycle.ts';
import { logRecords } from './logs.ts';
import { stepNameRecords } from './step-names.ts';
import { noteRecords, watchMemory } from './watch.ts';
import { workflowRecords } from './workflows.ts';

/** Records in the file that `database` has open; closing them closes it. */
export function sqliteRecords(database: Database): Records {
  return {
    ...workflowRecords(database),
    ...stepNameRecords(database),
    ...claimRecords(database),
    ...cleanRunRecords(database),
    ...lifecycleRecords(database),
    ...logRecords(database),
    ...auditRecords(database),
    ...noteRecords(database),
    watch: watchMemory(database),
    close: () => database.close(),
  };
}

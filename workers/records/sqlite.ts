import type { Database } from '../sqlite/database.ts';
import type { Records } from './contract.ts';
import { auditRecords } from './sqlite-audit.ts';
import { claimRecords } from './sqlite-claims.ts';
import { cleanRunRecords } from './sqlite-clean-runs.ts';
import { lifecycleRecords } from './sqlite-lifecycle.ts';
import { logRecords } from './sqlite-logs.ts';
import { stepNameRecords } from './sqlite-step-names.ts';
import { noteRecords, watchMemory } from './sqlite-watch.ts';
import { workflowRecords } from './sqlite-workflows.ts';

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

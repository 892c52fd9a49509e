/** Scheduled: removes records of workflows that the catalog does not name any more. */
import { purgeStaleWorkflowsTool } from './cli/commands/purge-stale-workflows.ts';
import { runTool } from './cli/tool.ts';

await runTool(purgeStaleWorkflowsTool);

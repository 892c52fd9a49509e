/** Scheduled: brings the queue to what the records say should run. */
import { reconcileTool } from './cli/commands/reconcile.ts';
import { runTool } from './cli/tool.ts';

await runTool(reconcileTool);

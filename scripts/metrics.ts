/** Scheduled: measures how full file systems and quotas are. */
import { metricsTool } from './cli/commands/metrics.ts';
import { runTool } from './cli/tool.ts';

await runTool(metricsTool);

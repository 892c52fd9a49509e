/** Scheduled: tells who is on duty of damaged and missing copies that nobody was told of yet. */
import { raiseAlarmsTool } from './cli/commands/raise-alarms.ts';
import { runTool } from './cli/tool.ts';

await runTool(raiseAlarmsTool);

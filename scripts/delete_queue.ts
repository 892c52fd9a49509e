/** Deletes a queue with all its jobs from Redis. */
import { deleteQueueTool } from './cli/commands/delete-queue.ts';
import { runTool } from './cli/tool.ts';

await runTool(deleteQueueTool);

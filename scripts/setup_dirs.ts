/** Says of every configured folder whether it is there, and makes those that are missing. */
import { setupDirsTool } from './cli/commands/setup-dirs.ts';
import { runTool } from './cli/tool.ts';

await runTool(setupDirsTool);

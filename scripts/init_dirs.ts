/** Makes every configured folder that is missing. */
import { initDirsTool } from './cli/commands/setup-dirs.ts';
import { runTool } from './cli/tool.ts';

await runTool(initDirsTool);

/** Gives archived datasets without a recorded bundle its name, size and digest. */
import { populateBundlesTool } from './cli/commands/populate-bundles.ts';
import { runTool } from './cli/tool.ts';

await runTool(populateBundlesTool);

/** The program behind `longshore`; see scripts/longshore.ts. */
import { join } from 'node:path';
import { packageVersion } from '../../workers/fleet/code/code-version.ts';
import { addCommands } from './commands.ts';
import { createProgram, runProgram } from './program.ts';

const program = createProgram('npx longshore', 'See and steer what Longshore does.', [
  'longshore status',
  'longshore workflows --status FAILURE',
  'longshore show run_17',
  'longshore resume run_17',
  'longshore doctor',
]).version(
  packageVersion(join(import.meta.dirname, '../..')),
  '--version',
  'print the version of this checkout',
);
await addCommands(program, process.argv.slice(2));
await runProgram(program);

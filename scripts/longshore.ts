#!/usr/bin/env node
/** The operator's command line. */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { addCommands } from './cli/commands.ts';
import { packageVersion } from '../workers/fleet/code-version.ts';
import { createProgram, runProgram } from './cli/program.ts';

// In the checkout, which is trusted as the code itself is: what lies in a folder of /tmp may be somebody else's. Told to the
// processes that a command starts: half of what one of the doctor or of the drill costs is the compiling of its code.
process.env.NODE_COMPILE_CACHE ||= join(import.meta.dirname, '../var/cache/node');
enableCompileCache(process.env.NODE_COMPILE_CACHE);
const program = createProgram('npx longshore', 'See and steer what Longshore does.', [
  'longshore status',
  'longshore workflows --status FAILURE',
  'longshore show run_17',
  'longshore resume run_17',
  'longshore doctor',
]).version(
  packageVersion(join(import.meta.dirname, '..')),
  '--version',
  'print the version of this checkout',
);
await addCommands(program, process.argv.slice(2));
await runProgram(program);

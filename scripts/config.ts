/** Shows every configured value and where it came from; pm2's own file asks it, too. */
import { configTool } from './cli/commands/config.ts';
import { createProgram, runProgram } from './cli/program.ts';

const examples = [
  'npm run config                         everything',
  'npm run config -- paths.RAW_DATA       only this key and what is below it',
  'npm run -s config -- --json | jq .     for programs: without -s npm writes two lines of its own first',
];
await runProgram(configTool.define(createProgram('config', configTool.description, examples)));

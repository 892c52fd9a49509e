import * as backlog from './backlog.ts';
import * as fleet from './fleet.ts';
import * as ingest from './ingest.ts';
import * as memory from './memory.ts';
import * as queue from './queue.ts';
import * as watch from './watch.ts';

/**
 * `npm run bench -- <name> [options]`. Ratios measured in one run count; absolute figures drift by a factor of two
 * between hours on a shared machine.
 */
const BENCHES: Readonly<Record<string, { run(args: string[]): Promise<void> }>> = {
  backlog,
  fleet,
  ingest,
  memory,
  queue,
  watch,
};

const [name = '', ...args] = process.argv.slice(2);
const bench = BENCHES[name];

const usage = `usage: npm run bench -- <${Object.keys(BENCHES).join('|')}> [options]; the options stand at the top of bench/NAME.ts\n`;

if (name === '--help' || name === '-h') process.stdout.write(usage);
else if (bench === undefined) {
  process.stderr.write(usage);
  process.exitCode = 64;
} else {
  try {
    await bench.run(args);
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (!code.startsWith('ERR_PARSE_ARGS_')) throw error;
    process.stderr.write(`${message}; the options stand at the top of bench/${name}.ts\n`);
    process.exitCode = 64;
  }
}

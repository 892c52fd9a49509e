import { readFileSync } from 'node:fs';
import { join } from 'node:path';
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

const usage = `usage: npm run bench -- <${Object.keys(BENCHES).join('|')}> [options]; \`<name> --help\` tells the options\n`;

/** What stands at the top of its file is its help: kept in one place, it is true. */
function helpOf(bench_name: string): string {
  const text = readFileSync(join(import.meta.dirname, `${bench_name}.ts`), 'utf8');
  const comments = text.matchAll(/^\/\*\*\n(.*?)\n \*\/$/gms);
  const found = [...comments].find(([, body = '']) => body.includes(`npm run bench -- ${bench_name}`));
  return `${(found?.[1] ?? '').replaceAll(/^ \* ?/gm, '')}\n`;
}

if (name === '--help' || name === '-h') process.stdout.write(usage);
else if (bench === undefined) {
  process.stderr.write(usage);
  process.exitCode = 64;
} else if (args.some((word) => word === '--help' || word === '-h')) process.stdout.write(helpOf(name));
else {
  try {
    await bench.run(args);
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (!code.startsWith('ERR_PARSE_ARGS_')) throw error;
    process.stderr.write(`${message}; \`npm run bench -- ${name} --help\` tells the options\n`);
    process.exitCode = 64;
  }
}

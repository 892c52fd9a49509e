/** `npm run demo`: lands sample datasets, or the folders of a real directory, on a fleet of its own. */
import { join, resolve } from 'node:path';
import { isLongshoreError, LongshoreError } from '../workers/errors.ts';
import { createProgram, EXIT, jsonOption, runProgram } from './cli/program.ts';
import type { DemoPlace } from './demo/place.ts';
import { type DemoResult, runDemo } from './demo/run.ts';
import { printSummary } from './demo/summary.ts';

interface Options {
  source?: string;
  at: string;
  workers: string;
  qc: boolean;
  keep?: boolean;
  json?: boolean;
}

const program = createProgram(
  'demo',
  'Land datasets end to end on a fleet of its own, and prove every byte.',
  [
    'npm run demo                              sample datasets',
    'npm run demo -- --source /data/runs       the folders of a real directory; it is only read',
    'npm run demo -- --keep                    leave the fleet up until Ctrl-C',
  ],
)
  .option('--source <dir>', 'land the folders of this directory (or itself, if it holds only files)')
  .option(
    '--at <dir>',
    'where the fleet keeps everything; replaced at each run',
    join(import.meta.dirname, '../var/demo'),
  )
  .option('--workers <n>', 'worker processes', '2')
  .option('--no-qc', 'without FastQC and MultiQC')
  .option('--keep', 'leave the fleet up after the landings, until Ctrl-C')
  .addOption(jsonOption())
  .action(async (options: Options) => {
    process.exitCode = await demo(options);
  });

async function demo(options: Options): Promise<number> {
  const workers = Number(options.workers);
  if (!Number.isInteger(workers) || workers < 1 || workers > 64) {
    throw new LongshoreError('E_USAGE', `--workers ${options.workers}: expected a number from 1 to 64`);
  }
  const at = fromHere(options.at);
  const stopping = stopSignal();
  const out = options.json ? process.stderr : process.stdout;
  const result = await runDemo({
    at,
    source: options.source === undefined ? null : fromHere(options.source),
    qc: options.qc,
    workers,
    out,
    signal: stopping,
    beforeStop: async (place) => {
      if (options.keep) await keepUp(place, stopping);
    },
  }).catch((error: unknown) => {
    if (stopping.aborted) return null;
    // Nothing was started for a wrong argument.
    const started = !(isLongshoreError(error) && ['E_USAGE', 'E_NO_SPACE'].includes(error.code));
    if (started) process.stderr.write(`\nThe logs are in ${join(at, 'log')}\n`);
    throw error;
  });
  if (result === null) {
    process.stderr.write('stopped; nothing of it runs any more\n');
    return 130;
  }
  report(result, options.json === true);
  return isComplete(result) ? EXIT.ok : EXIT.failed;
}

/** npm runs scripts in the project's folder; a relative path is meant from where the person stands. */
const fromHere = (path: string): string => resolve(process.env.INIT_CWD ?? '', path);

function isComplete({ outcomes, left, untouched }: DemoResult): boolean {
  return (
    outcomes.every(({ identical }) => identical) && !left.some(({ failed }) => failed) && untouched !== false
  );
}

function report({ outcomes, place, left, untouched }: DemoResult, json: boolean): void {
  if (json)
    process.stdout.write(
      `${JSON.stringify({ datasets: outcomes, left, untouched, logs: place.logs }, null, 2)}\n`,
    );
  else {
    printSummary(outcomes, process.stdout);
    for (const { name, reason } of left)
      process.stdout.write(`\nnot landed: ${JSON.stringify(name)} (${reason})`);
    if (untouched !== null)
      process.stdout.write(
        `\n${untouched ? 'The source is untouched.' : 'THE SOURCE HAS CHANGED while it was read.'}\n`,
      );
  }
  const landed = outcomes.filter(({ identical }) => identical).length;
  const verdict = `${landed} of ${outcomes.length} datasets landed byte-identical.`;
  (json ? process.stderr : process.stdout).write(`\n${verdict} Logs: ${place.logs}\n`);
}

async function keepUp(place: DemoPlace, signal: AbortSignal): Promise<void> {
  process.stderr.write(
    `\nThe fleet stays up. Drop folders into ${place.raw}; look at it with\n  LONGSHORE_DOTENV=${place.dotenv} npx longshore status\nCtrl-C ends it.\n`,
  );
  const alive = setInterval(() => undefined, 1 << 30);
  if (!signal.aborted) await new Promise((done) => signal.addEventListener('abort', done, { once: true }));
  clearInterval(alive);
}

function stopSignal(): AbortSignal {
  const stopping = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      // Asked twice: at once. The exit handler kills what still runs.
      if (stopping.signal.aborted) process.exit(130);
      stopping.abort();
      process.stderr.write('\nstopping the fleet …\n');
    });
  }
  return stopping.signal;
}

await runProgram(program);

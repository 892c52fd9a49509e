import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { commandConfig } from '../../../config/index.ts';
import { removeTree } from '../../../workers/content/coreutils.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { makeFolders } from '../../../workers/folders.ts';
import { FAULTS, type Fault, Skipped } from '../../drill/faults.ts';
import { openGround } from '../../drill/ground.ts';
import { duration } from '../format.ts';
import { EXIT, helpTail, jsonOption } from '../program.ts';
import { printJson } from '../session.ts';
import { stopOnSignal } from '../stop.ts';
import { printTable } from '../table.ts';

interface Options {
  only?: string;
  list?: boolean;
  json?: boolean;
}

interface Row extends Omit<Fault, 'run' | 'needs'> {
  readonly passed: boolean;
  /** It could not be made here; `seen` says why. */
  readonly skipped: boolean;
  readonly seen: string;
  readonly seconds: number;
}

export function addDrill(program: Command): void {
  program
    .command('drill')
    .description(
      'make faults on purpose, on a fleet of its own with throw-away data, and see that nothing is lost',
    )
    .option('--only <faults>', `some of ${FAULTS.map(({ name }) => name).join(', ')}; separated by commas`)
    .option('--list', 'say what would be done, and do nothing')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Everything lies below <paths.scratch>/longshore-drill-*: an own Redis (also where
REDIS_URL is set), catalog, archive and workers. Datasets and archives of the
site are not touched. It is removed, unless a fault failed.
${helpTail(['longshore drill', 'longshore drill --only worker-kill,redis-restart'])}`,
    )
    .action(async (options: Options) => {
      process.exitCode = await drill(options);
    });
}

async function drill({ only, list = false, json = false }: Options): Promise<number> {
  const chosen = choose(only);
  if (list) {
    const rows = chosen.map(({ name, done, expected }) => ({ name, done, expected }));
    if (json) printJson({ faults: rows });
    else
      for (const { name, done, expected } of rows)
        process.stdout.write(`${name}: ${done}; expected: ${expected}\n`);
    return EXIT.ok;
  }
  const config = await commandConfig();
  makeFolders(config.paths.scratch);
  const folder = mkdtempSync(join(config.paths.scratch, 'longshore-drill-'));
  const { rows, stopped } = await sufferAll(chosen, folder, config.dataset_types);
  if (stopped !== null) {
    await removeTree(folder);
    throw stopped;
  }
  const passed = rows.every((row) => row.passed);
  if (passed) await removeTree(folder);
  const evidence = passed ? null : folder;
  if (json) printJson({ passed, faults: rows, evidence });
  else show(rows, evidence);
  return passed ? EXIT.ok : EXIT.failed;
}

/** @returns `stopped` by Ctrl-C when nothing of the fleet runs any more */
async function sufferAll(
  faults: readonly Fault[],
  folder: string,
  types: readonly string[],
): Promise<{ rows: Row[]; stopped: Error | null }> {
  const { signal, end } = stopOnSignal('the drill', 'nothing of it runs any more, and nothing of it is left');
  const tell = (): void => void process.stderr.write('\nstopping the fleet of the drill …\n');
  signal.addEventListener('abort', tell, { once: true });
  // Not before Ctrl-C is minded: whoever reads the line may press it at once.
  process.stderr.write(`drilling below ${folder}, on a Redis of its own\n`);
  const rows: Row[] = [];
  for (const fault of faults)
    if (!signal.aborted) rows.push(await suffer(fault, join(folder, fault.name), types, signal));
  end();
  return { rows, stopped: signal.aborted ? (signal.reason as Error) : null };
}

async function suffer(
  { run, needs, ...fault }: Fault,
  folder: string,
  types: readonly string[],
  signal: AbortSignal,
): Promise<Row> {
  const begun = Date.now();
  const row = (passed: boolean, seen: string, skipped = false): Row => ({
    ...fault,
    passed,
    skipped,
    seen,
    seconds: (Date.now() - begun) / 1000,
  });
  try {
    const ground = await openGround(folder, types, signal, needs);
    try {
      return row(true, await run(ground));
    } finally {
      await ground.close();
    }
  } catch (error) {
    if (error instanceof Skipped) return row(true, error.message, true);
    return row(false, (error as Error).message);
  }
}

const resultOf = ({ passed, skipped }: Row): string => (skipped ? 'SKIPPED' : passed ? 'passed' : 'FAILED');

function show(rows: readonly Row[], evidence: string | null): void {
  printTable(process.stdout, rows, [
    { title: 'FAULT', value: ({ name }) => name },
    {
      title: 'RESULT',
      value: resultOf,
      style: (row) => (row.skipped ? 'yellow' : row.passed ? 'green' : 'red'),
    },
    { title: 'TOOK', value: ({ seconds }) => duration(seconds), align: 'right' },
    { title: 'DONE', value: ({ done }) => done, wrap: true },
    { title: 'EXPECTED', value: ({ expected }) => expected, wrap: true },
    { title: 'SEEN', value: ({ seen }) => seen, wrap: true },
  ]);
  if (evidence !== null) process.stdout.write(`\nThe evidence is kept in ${evidence}\n`);
}

function choose(only: string | undefined): Fault[] {
  if (only === undefined) return [...FAULTS];
  return only.split(',').map((name) => {
    const found = FAULTS.find((fault) => fault.name === name.trim());
    if (found !== undefined) return found;
    throw new LongshoreError(
      'E_USAGE',
      `"${name}" is no fault; expected some of ${FAULTS.map((fault) => fault.name).join(', ')}`,
    );
  });
}

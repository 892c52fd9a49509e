/** Registers a folder, or its subfolders, by hand. */
import { join } from 'node:path';
import { Argument, InvalidArgumentError, Option } from 'commander';
import { type Config, commandConfig } from '../config/index.ts';
import type { LongshoreError } from '../workers/errors.ts';
import { createLogger, type Logger } from '../workers/log.ts';
import { openStore, type Store } from '../workers/store.ts';
import { createRegistrar } from '../workers/watch/registration.ts';
import { createEngine } from '../workers/workflows/engine.ts';
import { alone, busyHelp } from './cli/alone.ts';
import { createProgram, dryRunBesideArguments, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { currentUser, printJson, withStoreIfAny } from './cli/session.ts';
import { printTable, type Style } from './cli/table.ts';
import { type Candidate, candidatesOf, type RegisterOptions } from './register/candidates.ts';
import { enqueueOrTell } from './register/enqueue.ts';
import { registering } from './register/overlap.ts';
import { predict, refusedRow, type Row, rowOf, tellHints } from './register/predict.ts';

const LEVELS: Record<string, string> = {
  DEBUG: 'debug',
  INFO: 'info',
  WARNING: 'warn',
  ERROR: 'error',
  CRITICAL: 'fatal',
};

interface Options extends RegisterOptions {
  dryRun?: boolean;
  json?: boolean;
  logLevel: string;
}

const program = createProgram('register', 'Register a folder, or each of its subfolders, as datasets.', [
  'npm run register -- /data/run_17 --dataset-type RAW_DATA',
  'npm run register -- /data/runs --dataset-type RAW_DATA --ingest-subdirs --prefix 2026 --dry-run',
])
  .addArgument(new Argument('<dir-path>', 'the folder'))
  .requiredOption('--dataset-type <type>', 'type of the datasets, as RAW_DATA')
  .option('--project-id <id>', 'project that the datasets belong to')
  .option('--description <text>', 'description of the datasets')
  .option('--prefix <text>', 'put before the name, with a dash')
  .option('--suffix <text>', 'put after the name, with a dash')
  .option('--ingest-subdirs', 'register each direct subfolder instead of the folder itself')
  .option('--workflow <name>', 'workflow to start; default: config.registration.workflow')
  .addOption(dryRunBesideArguments())
  .addOption(jsonOption())
  .addOption(
    new Option('--log-level <level>', 'what goes into the log file')
      .choices(Object.keys(LEVELS))
      .default('INFO')
      .argParser(levelOf),
  )
  .addHelpText('after', busyHelp)
  .action(async (path: string, options: Options) => {
    process.exitCode = await register(await commandConfig(), path, options);
  });

/** Commander looks into the choices only where nothing else reads the word. */
function levelOf(text: string): string {
  const level = text.toUpperCase();
  if (Object.hasOwn(LEVELS, level)) return level;
  throw new InvalidArgumentError(`Allowed choices are ${Object.keys(LEVELS).join(', ')}.`);
}

async function register(config: Config, path: string, options: Options): Promise<number> {
  const workflow = options.workflow ?? config.registration.workflow;
  const found = await candidatesOf(config, path, options);
  const candidates = found.filter((one) => 'dataset' in one);
  const refused = found.filter((one) => 'error' in one).map(refusedRow);
  const answers = options.dryRun
    ? await withStoreIfAny(config, (store) => foresee(candidates, store, options))
    : await registerAll(config, candidates, workflow, options);
  const rows = [...answers, ...refused].toSorted((a, b) => (a.folder < b.folder ? -1 : 1));
  if (options.json) printJson({ dry_run: options.dryRun ?? false, datasets: rows });
  else {
    show(rows, options.dryRun ?? false);
    tellHints(rows);
  }
  if (rows.some((row) => row.outcome === 'failed')) return EXIT.failed;
  return rows.some((row) => row.outcome === 'taken') ? EXIT.state : EXIT.ok;
}

async function foresee(
  candidates: readonly Candidate[],
  store: Store | null,
  { projectId }: Options,
): Promise<Row[]> {
  if (projectId !== undefined) await store?.catalog.requireProject?.(projectId);
  return await predict(candidates, store?.catalog ?? null);
}

async function registerAll(
  config: Config,
  candidates: readonly Candidate[],
  workflow: string,
  options: Options,
): Promise<Row[]> {
  const log = fileLogger(config, options.logLevel);
  const overlap = registering(candidates);
  return alone({ config, log }, overlap, (_, away) =>
    registerEach(config, log, { candidates, workflow, options, away }),
  );
}

interface Asked {
  candidates: readonly Candidate[];
  workflow: string;
  options: Options;
  away: LongshoreError | null;
}

async function registerEach(
  config: Config,
  log: Logger,
  { candidates, workflow, options, away }: Asked,
): Promise<Row[]> {
  const store = await openStore(config);
  const engine = await createEngine({ config, store, log, wait_seconds: 5 });
  try {
    // Once and for all of them: each would be refused by itself.
    if (options.projectId !== undefined) await store.catalog.requireProject?.(options.projectId);
    const registrar = createRegistrar({
      config,
      log,
      catalog: store.catalog,
      enqueue: enqueueOrTell(engine, away),
    });
    log.info({ options, candidates: candidates.length }, 'registering on demand');
    const outcomes = await registrar.register(
      candidates.map(({ dataset }) => dataset),
      { workflow, actor: currentUser() },
    );
    const rows = candidates.map((candidate, at) =>
      rowOf(candidate, outcomes[at] as (typeof outcomes)[number]),
    );
    for (const row of rows) log[LOG_AS[row.outcome] ?? 'info'](row, row.outcome);
    return rows;
  } finally {
    await engine.close();
    await store.close();
  }
}

const LOG_AS: Partial<Record<Row['outcome'], 'warn' | 'error'>> = { taken: 'warn', failed: 'error' };

/** `YYYY-MM-DD_HH-MM-SS.log` in local time, as operators look for it. */
function fileLogger(config: Config, level: string): Logger {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString();
  const name = `${local.slice(0, 10)}_${local.slice(11, 19).replaceAll(':', '-')}.log`;
  return createLogger(
    'register',
    {},
    { to: join(config.logs.register_ondemand, name), level: LEVELS[level] ?? 'info' },
  );
}

const STYLES: Record<Row['outcome'], Style> = {
  created: 'green',
  completed: 'green',
  present: 'gray',
  taken: 'yellow',
  failed: 'red',
  'would create': 'cyan',
  'would complete': 'cyan',
};

function show(rows: readonly Row[], dryRun: boolean): void {
  printTable(process.stdout, rows, [
    { title: 'FOLDER', value: (row) => row.folder, shrink: true },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    { title: 'OUTCOME', value: (row) => row.outcome, style: (row) => STYLES[row.outcome] },
    { title: 'ID', value: (row) => row.dataset_id, align: 'right' },
    { title: 'WORKFLOW', value: (row) => row.workflow_id },
    { title: 'NOTE', value: (row) => row.note, wrap: true },
  ]);
  const counts = new Map<string, number>();
  for (const { outcome } of rows) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const summary = [...counts].map(([outcome, count]) => `${count} ${outcome}`).join(', ');
  process.stdout.write(`${summary}${dryRun ? ' (dry run: nothing was changed)' : ''}\n`);
}

await runProgram(program);

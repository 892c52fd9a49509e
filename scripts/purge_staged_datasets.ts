/** Scheduled: removes staged copies that nobody has staged anew for config.stage.purge.days_to_live days. */
import { InvalidArgumentError } from 'commander';
import { EXIT_BUSY, withScriptLock } from '../workers/queue/script-lock.ts';
import { ago, bytes } from './cli/format.ts';
import { createProgram, dryRunOption, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { currentUser, printJson, type Session, withStore } from './cli/session.ts';
import { printTable } from './cli/table.ts';
import { candidatesOf, type PurgeRow, purge } from './purge/staged.ts';

interface Options {
  daysToLive?: number;
  maxPurges?: number;
  dryRun?: boolean;
  json?: boolean;
}

const program = createProgram(
  'purge_staged_datasets',
  'Remove staged copies that have outlived config.stage.purge.days_to_live; their archive stays.',
  [
    'node scripts/purge_staged_datasets.ts --dry-run',
    'node scripts/purge_staged_datasets.ts --days-to-live 5 --max-purges 100',
  ],
)
  .option('--days-to-live <days>', 'instead of config.stage.purge.days_to_live', days)
  .option('--max-purges <n>', 'instead of config.stage.purge.max_purges', cap)
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText('after', `Another run of it is still active: ${EXIT_BUSY}`)
  .action(async (options: Options) => {
    process.exitCode = await withStore((session) => run(session, options));
  });

async function run(session: Session, options: Options): Promise<number> {
  // A dry run touches no lock either.
  if (options.dryRun) return purgeAll(session, options);
  const outcome = await withScriptLock(session.config, 'purge_staged_datasets', session.log, (signal) =>
    purgeAll(session, options, signal),
  );
  return outcome.ran ? outcome.result : EXIT_BUSY;
}

async function purgeAll(
  { config, store, log }: Session,
  { dryRun = false, json = false, ...given }: Options,
  signal?: AbortSignal,
): Promise<number> {
  const { days_to_live, max_purges } = config.stage.purge;
  const most = given.maxPurges ?? max_purges;
  const candidates = await candidatesOf(store, given.daysToLive ?? days_to_live);
  const rows: PurgeRow[] = [];
  let purged = 0;
  for (const candidate of candidates) {
    if (signal?.aborted || purged >= most) break;
    const row = await purge({ config, store, actor: currentUser(), dry_run: dryRun }, candidate);
    // What is refused does not use up the cap: a few that cannot go would keep all others for ever.
    if (row.outcome === 'purged' || row.outcome === 'would purge') purged += 1;
    else log.warn(row, 'a staged copy was not purged');
    rows.push(row);
  }
  const left = candidates.length - rows.length;
  if (json) printJson({ dry_run: dryRun, datasets: rows, left });
  else show(rows, left, dryRun);
  return rows.some(({ outcome }) => outcome === 'failed' || outcome === 'refused') ? EXIT.failed : EXIT.ok;
}

function show(rows: readonly PurgeRow[], left: number, dryRun: boolean): void {
  printTable(process.stdout, rows, [
    { title: 'ID', value: (row) => row.dataset_id, align: 'right' },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    { title: 'STAGED', value: (row) => ago(row.staged_at) },
    { title: 'SIZE', value: (row) => bytes(row.size), align: 'right' },
    {
      title: 'OUTCOME',
      value: (row) => row.outcome,
      style: (row) => (row.outcome === 'refused' || row.outcome === 'failed' ? 'red' : 'green'),
    },
    { title: 'NOTE', value: (row) => row.note, shrink: true },
  ]);
  const freed = rows
    .filter(({ outcome }) => outcome === 'purged' || outcome === 'would purge')
    .reduce((sum, row) => sum + (row.size ?? 0), 0);
  process.stdout.write(
    `${rows.length} looked at, ${bytes(freed)} ${dryRun ? 'would be freed (dry run: nothing was changed)' : 'freed'}${left > 0 ? `, ${left} left for the next run (cap)` : ''}\n`,
  );
}

function days(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError('Expected a number of days.');
}

function cap(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number.');
}

await runProgram(program);

/** Scheduled: proves the archived copies that were not proven for longest, within config.fixity's budget. */
import { InvalidArgumentError } from 'commander';
import { alone } from './cli/alone.ts';
import { ago, bytes, counted, parseBytes } from './cli/format.ts';
import { createProgram, dryRunOption, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { printJson, type Session, withStore } from './cli/session.ts';
import { stopOnSignal } from './cli/stop.ts';
import { printTable } from './cli/table.ts';
import { isFinding } from '../workers/dataset/types.ts';
import { scrub, type ScrubReport } from './fixity/scrub-run.ts';
import { findingText, readText, resultStyle } from './fixity/view.ts';

interface Options {
  maxBytes?: number;
  dryRun?: boolean;
  json?: boolean;
}

const program = createProgram(
  'scrub',
  'Prove the archived copies that were not proven for longest (config.fixity). Nothing is repaired or deleted.',
  ['node scripts/scrub.ts --dry-run', 'node scripts/scrub.ts --max-bytes 500GB'],
)
  .option('--max-bytes <size>', 'instead of config.fixity.max_bytes_per_run', size)
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText(
    'after',
    `A copy is damaged or missing: ${EXIT.failed}; an archive was away: ${EXIT.unavailable}; another run is still\nactive: ${EXIT.busy}`,
  )
  .action(async (options: Options) => {
    process.exitCode = await withStore((session) => run(session, options));
  });

async function run(session: Session, options: Options): Promise<number> {
  // A dry run touches no lock either.
  if (options.dryRun) return scrubAndTell(session, options);
  const stopping = stopOnSignal(
    'the scrub',
    'what was proven is in the ledger',
    'The next run goes on with the rest.',
  );
  try {
    return await alone(session, { script: 'scrub' }, (lost) =>
      scrubAndTell(session, options, AbortSignal.any([lost, stopping.signal])),
    );
  } finally {
    stopping.end();
  }
}

async function scrubAndTell(session: Session, options: Options, signal?: AbortSignal): Promise<number> {
  const { dryRun = false, json = false } = options;
  const max_bytes = options.maxBytes ?? session.config.fixity.max_bytes_per_run;
  const report = await scrub(session, { max_bytes, dry_run: dryRun, signal });
  if (json) {
    const { rows: copies, ...rest } = report;
    printJson({ dry_run: dryRun, max_bytes, ...rest, copies });
  } else show(report, dryRun);
  if (report.rows.some(isFinding)) return EXIT.failed;
  return report.rows.some(({ result }) => result === 'unavailable') ? EXIT.unavailable : EXIT.ok;
}

function show({ rows, bytes: read, left, away, adopted }: ScrubReport, dryRun: boolean): void {
  printTable(process.stdout, rows, [
    { title: 'ID', value: (row) => row.dataset_id, align: 'right' },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    { title: 'ARCHIVE', value: (row) => row.archive },
    { title: 'SIZE', value: (row) => bytes(row.size), align: 'right' },
    { title: 'LAST LOOK', value: (row) => (row.looked_at === null ? 'never' : ago(row.looked_at)) },
    { title: 'LEVEL', value: (row) => row.level },
    { title: 'RESULT', value: (row) => row.result, style: (row) => resultStyle(row.result) },
    { title: 'NOTE', value: (row) => (row.result === 'ok' ? readText(row) : findingText(row)), wrap: true },
  ]);
  const verb = dryRun ? 'would be looked at' : 'looked at';
  const parts = [
    `${rows.length} ${verb}, ${bytes(read)} ${dryRun ? 'to read (dry run: nothing was changed)' : 'read'}`,
    ...(left > 0 ? [`${left} more are due (budget)`] : []),
    ...(away > 0 ? [`${away} more are in archives that are away`] : []),
    ...(adopted > 0
      ? [
          `${counted(adopted, 'copy', 'copies')} from before ${dryRun ? 'would be recorded' : adopted === 1 ? 'was recorded' : 'were recorded'}`,
        ]
      : []),
  ];
  process.stdout.write(`${parts.join('; ')}\n`);
}

function size(text: string): number {
  const value = parseBytes(text);
  if (value !== null && value > 0) return value;
  throw new InvalidArgumentError('Expected a size, as 500GB.');
}

await runProgram(program);

/** Scheduled every minute: takes uploads on, from the browser's last byte to the workflow that lands them. */
import { InvalidArgumentError } from 'commander';
import type { Uploads } from '../workers/uploads/contract.ts';
import { openUploads } from '../workers/uploads/rest.ts';
import { alone } from './cli/alone.ts';
import { createProgram, dryRunOption, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { type EngineSession, printJson, withEngine } from './cli/session.ts';
import { printTable } from './cli/table.ts';
import { manageUploads, type ManageReport } from './uploads/manage.ts';

interface Options {
  maxRetries: number;
  dryRun?: boolean;
  json?: boolean;
}

/** The next run is a minute away: an API that is down for long must not keep this one for ten. */
const API_RETRIES = 2;

const program = createProgram(
  'manage_upload_workflows',
  'Take uploads on: verify those that are complete, land those that are verified, fail those that nothing arrives of.',
  [
    'node scripts/manage_upload_workflows.ts --dry-run',
    'node scripts/manage_upload_workflows.ts --max-retries 3 --json',
  ],
)
  .option('--max-retries <n>', 'tries of a landing that failed, before it is given up', whole, 3)
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText(
    'after',
    `Something could not be done: ${EXIT.failed}; another run is still active: ${EXIT.busy}`,
  )
  .action(async (options: Options) => {
    process.exitCode = await withEngine(async (session) => {
      const { config, log } = session;
      const uploads = openUploads(config, { retries: API_RETRIES, log });
      try {
        return await run(session, uploads, options);
      } finally {
        uploads.close();
      }
    });
  });

async function run(session: EngineSession, uploads: Uploads, options: Options): Promise<number> {
  return alone(session, { script: 'manage_upload_workflows', dry_run: options.dryRun ?? false }, (signal) =>
    manage(session, uploads, options, signal),
  );
}

async function manage(
  { config, engine, log, store }: EngineSession,
  uploads: Uploads,
  options: Options,
  signal: AbortSignal,
): Promise<number> {
  const { dryRun: dry_run = false, json = false, maxRetries: max_retries } = options;
  const parts = { config, engine, log, records: store.records, uploads };
  const report = await manageUploads(parts, { max_retries, dry_run, signal });
  if (json) printJson({ dry_run, ...report.counts, uploads: report.rows });
  else show(report, dry_run);
  return report.counts.errors > 0 ? EXIT.failed : EXIT.ok;
}

function show({ rows, counts }: ManageReport, dry_run: boolean): void {
  const out = process.stdout;
  printTable(out, rows, [
    { title: 'ID', value: (row) => String(row.dataset_id), align: 'right' },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    { title: 'STATUS', value: (row) => row.status },
    { title: dry_run ? 'WOULD BE' : 'BECOMES', value: (row) => row.action },
    { title: 'NOTE', value: (row) => row.note, wrap: true },
  ]);
  const told = Object.entries(counts).filter(([, count]) => count > 0);
  const parts = told.map(([name, count]) => `${count} ${name.replaceAll('_', ' ')}`);
  out.write(`${parts.join(', ') || 'nothing to do'}${dry_run ? ' (dry run: nothing was changed)' : ''}\n`);
}

function whole(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number.');
}

await runProgram(program);

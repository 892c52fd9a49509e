/** Scheduled every day: removes what uploads leave behind below the upload roots. */
import { InvalidArgumentError } from 'commander';
import type { Uploads } from '../workers/uploads/contract.ts';
import { openUploads } from '../workers/uploads/rest.ts';
import { alone } from './cli/alone.ts';
import { bytes, oneLine } from './cli/format.ts';
import { createProgram, dryRunOption, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { printJson, type Session, withStore } from './cli/session.ts';
import { printTable } from './cli/table.ts';
import { type PurgeReport, purgeUploads } from './uploads/purge.ts';

interface Options {
  ttlDays: number;
  staleUploadingDays: number;
  dryRun?: boolean;
  json?: boolean;
}

const program = createProgram(
  'purge_stale_uploaded',
  'Remove what uploads leave behind: uploads that were never completed, files that nobody resumes, notes of uploads that are over, folders of uploads that are archived.',
  [
    'node scripts/purge_stale_uploaded.ts --dry-run',
    'node scripts/purge_stale_uploaded.ts --ttl-days 7 --stale-uploading-days 30 --json',
  ],
)
  .option('--ttl-days <days>', 'that a file of a resumable upload is kept after its last byte', days, 14)
  .option('--stale-uploading-days <days>', 'without a byte, after which an upload is given up', days, 14)
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText(
    'after',
    `Something could not be purged: ${EXIT.failed}; another run is still active: ${EXIT.busy}`,
  )
  .action(async (options: Options) => {
    process.exitCode = await withStore(async (session) => {
      const { config, log } = session;
      const uploads = openUploads(config, { log });
      try {
        return await run(session, uploads, options);
      } finally {
        uploads.close();
      }
    });
  });

async function run(session: Session, uploads: Uploads, options: Options): Promise<number> {
  return alone(session, { script: 'purge_stale_uploaded', dry_run: options.dryRun ?? false }, (signal) =>
    purge(session, uploads, options, signal),
  );
}

async function purge(
  { config, log, store }: Session,
  uploads: Uploads,
  options: Options,
  signal: AbortSignal,
): Promise<number> {
  const { dryRun: dry_run = false, json = false } = options;
  const { catalog, records } = store;
  const report = await purgeUploads(
    { config, log, uploads, catalog, records },
    { ttl_days: options.ttlDays, stale_uploading_days: options.staleUploadingDays, dry_run, signal },
  );
  if (json) printJson({ dry_run, ...report });
  else show(report, dry_run);
  return rulesOf(report).some(([, { errors }]) => errors > 0) ? EXIT.failed : EXIT.ok;
}

const rulesOf = ({ abandoned, staged_files, mirrors, archived }: PurgeReport) =>
  [
    ['uploads that were never completed', abandoned],
    ['files that nobody resumes', staged_files],
    ['notes of uploads that are over', mirrors],
    ['uploads that are archived', archived],
  ] as const;

function show(report: PurgeReport, dry_run: boolean): void {
  const out = process.stdout;
  if (report.roots.length === 0) return void out.write('there is no upload root on this host\n');
  printTable(out, rulesOf(report), [
    { title: '', value: ([rule]) => rule },
    { title: dry_run ? 'WOULD GO' : 'REMOVED', value: ([, tally]) => String(tally.deleted), align: 'right' },
    { title: 'SIZE', value: ([, tally]) => (tally.bytes === 0 ? '' : bytes(tally.bytes)), align: 'right' },
    { title: 'KEPT', value: ([, tally]) => String(tally.skipped), align: 'right' },
    { title: 'ERRORS', value: ([, tally]) => String(tally.errors), align: 'right' },
  ]);
  for (const path of report.removed) out.write(`${oneLine(path)}\n`);
  if (dry_run) out.write('dry run: nothing was changed\n');
}

function days(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError('Expected a number of days.');
}

await runProgram(program);

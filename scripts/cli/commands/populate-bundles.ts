import type { Command } from 'commander';
import { alone, busyHelp } from '../alone.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { type BundleRow, populate, withoutBundle } from '../../bundles/populate.ts';
import { bytes } from '../format.ts';
import { EXIT, flag, jsonOption } from '../program.ts';
import { currentUser, printJson, type Session, withStore } from '../session.ts';
import { printTable } from '../table.ts';
import { type Tool, valued } from '../tool.ts';

interface Options {
  appId?: string;
  read?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export const populateBundlesTool: Tool = {
  script: 'populate_bundles',
  description:
    'Give archived datasets without a recorded bundle its name, real size and digest, as their archive states them.',
  summary: 'record bundles of archived datasets that have none recorded',
  examples: ['--dry-run', '--read'],
  define: (command: Command) =>
    command
      .addOption(valued('app-id', 'id', 'must be this installation, config.app_id'))
      .addOption(flag('read', 'read whole bundles whose archive states no digest'))
      .addOption(flag('dry-run', 'ask the archives and change nothing'))
      .addOption(jsonOption())
      .addHelpText(
        'after',
        `\nSome could not be done: ${EXIT.failed}; only because an archive was away: ${EXIT.unavailable}${busyHelp}`,
      )
      .action(async (options: Options) => {
        process.exitCode = await withStore((session) => {
          const { app_id } = session.config;
          if (options.appId !== undefined && options.appId !== app_id)
            throw new LongshoreError('E_USAGE', `this installation is ${app_id}, not ${options.appId}`, {
              hint: 'Run it with the configuration of that installation.',
            });
          const dry_run = options.dryRun ?? false;
          return alone(session, { script: 'populate_bundles', dry_run }, (signal) =>
            populateAll(session, options, signal),
          );
        });
      }),
};

const isDone = ({ outcome }: BundleRow): boolean => outcome === 'processed' || outcome === 'would process';

async function populateAll(session: Session, options: Options, signal: AbortSignal): Promise<number> {
  const { dryRun: dry_run = false, read = false, json } = options;
  const rows: BundleRow[] = [];
  for (const dataset of await withoutBundle(session)) {
    if (signal.aborted) break;
    rows.push(await populate(session, dataset, { dry_run, read, actor: currentUser(), signal }));
  }
  const processed = rows.filter(isDone).map(({ dataset_id }) => dataset_id);
  const unprocessed = rows.filter((row) => !isDone(row));
  const ids = unprocessed.map(({ dataset_id }) => dataset_id);
  if (json) printJson({ dry_run, processed, unprocessed: ids, datasets: rows });
  else show(rows, dry_run);
  if (unprocessed.length === 0) return EXIT.ok;
  return unprocessed.every(({ outcome }) => outcome === 'unavailable') ? EXIT.unavailable : EXIT.failed;
}

function show(rows: readonly BundleRow[], dry_run: boolean): void {
  printTable(process.stdout, rows, [
    { title: 'ID', value: (row) => row.dataset_id, align: 'right' },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    { title: 'OUTCOME', value: (row) => row.outcome, style: (row) => (isDone(row) ? 'green' : 'yellow') },
    { title: 'SIZE', value: (row) => bytes(row.size), align: 'right' },
    { title: 'MD5', value: (row) => row.md5 },
    { title: 'NOTE', value: (row) => row.note, wrap: true },
  ]);
  const done = rows.filter(isDone).length;
  const verb = dry_run ? 'would be processed (dry run: nothing was changed)' : 'processed';
  process.stdout.write(`${done} ${verb}, ${rows.length - done} not\n`);
}

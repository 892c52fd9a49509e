import type { Command } from 'commander';
import { commandConfig } from '../../../config/index.ts';
import { aloneOnHost, busyHelp } from '../alone.ts';
import { checkFolder, configuredFolders, type FolderRow } from '../../dirs/folders.ts';
import { EXIT, flag, jsonOption } from '../program.ts';
import { printJson } from '../session.ts';
import { printTable } from '../table.ts';
import type { Tool } from '../tool.ts';

interface Options {
  create?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export const setupDirsTool: Tool = {
  script: 'setup_dirs',
  description:
    'Say of every configured folder whether it is there; with --create make those that are missing.',
  summary: 'say which configured folders there are, and make those that are missing',
  examples: ['', '--create'],
  define: (command: Command) =>
    command
      .addOption(flag('create', 'make what is missing, with its parents'))
      .addOption(flag('dry-run', 'make nothing, even with --create'))
      .addOption(jsonOption())
      .addHelpText(
        'after',
        `\nA folder that cannot be made: ${EXIT.failed}. One that is missing is a report: ${EXIT.ok}${busyHelp}`,
      )
      .action(({ create = false, dryRun = false, json }: Options) => setUp(create && !dryRun, json)),
};

/** What the reference's container calls before anything else. */
export const initDirsTool: Tool = {
  script: 'init_dirs',
  description: 'Make every configured folder that is missing.',
  summary: 'make every configured folder that is missing',
  examples: ['', '--dry-run'],
  define: (command: Command) =>
    command
      .addOption(flag('dry-run', 'only say what is missing'))
      .addOption(jsonOption())
      .addHelpText('after', busyHelp)
      .action(({ dryRun = false, json }: Options) => setUp(!dryRun, json)),
};

async function setUp(create: boolean, json = false): Promise<void> {
  const config = await commandConfig();
  const folders = configuredFolders(config);
  // The lock lies there: what it is when nothing has been done yet is seen before.
  const home = folders.filter(({ key }) => key === 'state_dir').map((folder) => checkFolder(folder, create));
  const overlap = { script: 'setup_dirs', subjects: [subjectOf(folders)], dry_run: !create };
  const rows = await aloneOnHost(config, overlap, async () =>
    folders.map((folder) => home.find(({ key }) => key === folder.key) ?? checkFolder(folder, create)),
  );
  if (json) printJson({ create, folders: rows });
  else show(rows);
  process.exitCode = rows.some(({ status }) => status === 'Failed') ? EXIT.failed : EXIT.ok;
}

/** Another configuration has other folders, and is no second run of this one. */
export const subjectOf = (folders: readonly { path: string | null }[]): string =>
  folders.map(({ path }) => path ?? '').join('\n');

const STYLES = {
  Exists: 'green',
  Created: 'green',
  Missing: 'yellow',
  'Not configured': 'gray',
  Failed: 'red',
} as const satisfies Record<FolderRow['status'], string>;

function show(rows: readonly FolderRow[]): void {
  printTable(process.stdout, rows, [
    { title: 'STATUS', value: (row) => row.status, style: (row) => STYLES[row.status] },
    { title: 'KEY', value: (row) => row.key },
    { title: 'FOLDER', value: (row) => row.path, shrink: true },
    { title: 'NOTE', value: (row) => row.note, wrap: true },
  ]);
}

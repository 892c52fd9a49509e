/** Makes small sample folders in import sources, for trying an installation out. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, commandConfig } from '../config/index.ts';
import { normaliseName } from '../workers/dataset/name.ts';
import { LongshoreError } from '../workers/errors.ts';
import type { Catalog } from '../workers/catalog/contract.ts';
import { aloneOnHost, busyHelp } from './cli/alone.ts';
import { createProgram, dryRunOption, jsonOption, runProgram } from './cli/program.ts';
import { printJson, withStoreIfAny } from './cli/session.ts';
import { printTable } from './cli/table.ts';

interface Options {
  source?: string[];
  dryRun?: boolean;
  json?: boolean;
}

interface Row {
  folder: string;
  outcome: 'created' | 'exists' | 'would create';
}

/** Three in each of two sources, of different shapes: flat, nested, with a file of some size. */
const SAMPLES: readonly (readonly [name: string, files: Readonly<Record<string, number>>])[] = [
  ['import_test_flat', { 'reads_1.txt': 2_000, 'reads_2.txt': 2_000 }],
  ['import_test_nested', { 'lane_1/reads.txt': 1_000, 'lane_2/deep/reads.txt': 1_000, 'sheet.csv': 200 }],
  ['import_test_large', { 'run.bin': 1024 ** 2, 'about.txt': 100 }],
];

const program = createProgram(
  'create_test_import_datasets',
  'Make three small sample folders in each of two import sources. One that is there is left alone; a name that is registered gets a number.',
  [
    'node scripts/create_test_import_datasets.ts --dry-run',
    'node scripts/create_test_import_datasets.ts --source /data/import/a /data/import/b',
  ],
)
  .option('--source <dir...>', 'import sources; default: the first two of config.register_ondemand')
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText('after', busyHelp)
  .action((options: Options) => create(options));

async function create({ source, dryRun: dry_run = false, json }: Options): Promise<void> {
  const config = await commandConfig();
  const sources = source ?? defaultSources(config);
  const overlap = { script: 'create_test_import_datasets', subjects: sources, dry_run };
  const rows = await aloneOnHost(config, overlap, () =>
    withStoreIfAny(config, async (store) => {
      const made: Row[] = [];
      for (const folder of sources)
        for (const [name, files] of SAMPLES)
          made.push(makeSample(join(folder, await freeName(store?.catalog ?? null, name)), files, dry_run));
      return made;
    }),
  );
  if (json) return printJson({ dry_run, folders: rows });
  printTable(process.stdout, rows, [
    { title: 'OUTCOME', value: (row) => row.outcome },
    { title: 'FOLDER', value: (row) => row.folder, shrink: true },
  ]);
}

function defaultSources({ register_ondemand }: Config): string[] {
  const found = Object.values(register_ondemand).map(({ source_dir }) => source_dir);
  if (found.length > 0) return found.slice(0, 2);
  throw new LongshoreError('E_USAGE', 'config.register_ondemand has no source_dir; name one with --source');
}

/** `name`, else `name_2`, `name_3`…: a folder whose name is registered could not be imported. */
async function freeName(catalog: Catalog | null, name: string): Promise<string> {
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? name : `${name}_${number}`;
    const query = { name: normaliseName(candidate), match_name_exact: true, limit: 1 };
    const found = await catalog?.list(query);
    if (found === undefined || found.count === 0) return candidate;
  }
}

function makeSample(folder: string, files: Readonly<Record<string, number>>, dry_run: boolean): Row {
  if (statSync(folder, { throwIfNoEntry: false }) !== undefined) return { folder, outcome: 'exists' };
  if (dry_run) return { folder, outcome: 'would create' };
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), Buffer.alloc(bytes, `${path}\n`));
  }
  return { folder, outcome: 'created' };
}

await runProgram(program);

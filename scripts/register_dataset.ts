/** Registers one folder under a name of its own. */
import { realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Config, commandConfig, variable } from '../config/index.ts';
import { LongshoreError } from '../workers/errors.ts';
import { createLogger, type Logger } from '../workers/log.ts';
import { openStore } from '../workers/store.ts';
import { createRegistrar, datasetNameOf } from '../workers/watch/registration.ts';
import { buildWorkflow } from '../workers/workflows/definition.ts';
import { createEngine } from '../workers/workflows/engine.ts';
import { alone, busyHelp } from './cli/alone.ts';
import { checkAll } from './cli/mistakes.ts';
import { createProgram, dryRunBesideArguments, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { currentUser, printJson, withStoreIfAny } from './cli/session.ts';
import type { Candidate } from './register/candidates.ts';
import { refuseOwn } from './register/own-places.ts';
import { enqueueOrTell } from './register/enqueue.ts';
import { registering } from './register/overlap.ts';
import { predict, RENAME, type Row, rowOf, tellHints } from './register/predict.ts';

interface Options {
  rawData?: boolean;
  dataProduct?: boolean;
  datasetType?: string;
  workflow?: string;
  description?: string;
  dryRun?: boolean;
  json?: boolean;
}

const program = createProgram(
  'register_dataset',
  'Register one folder as a dataset of this name, with its workflow: both or neither. A name that is taken changes nothing.',
  [
    'node scripts/register_dataset.ts run_17 /data/run_17 -r',
    'node scripts/register_dataset.ts results_17 /data/results --data-product --dry-run',
  ],
)
  .argument('<name>', 'of the dataset')
  .argument('<path>', 'its folder')
  .option('-r, --raw-data', 'it is RAW_DATA')
  .option('-d, --data-product', 'it is a DATA_PRODUCT')
  .option('--dataset-type <type>', 'another type of config.dataset_types')
  .option('--description <text>', 'description of the dataset')
  .option('--workflow <name>', 'workflow to start; default: config.registration.workflow')
  .addOption(dryRunBesideArguments())
  .addOption(jsonOption())
  .addHelpText(
    'after',
    `\nThere is no such folder: ${EXIT.failed}. The name belongs to another folder: ${EXIT.state}${busyHelp}`,
  )
  .action(async (name: string, path: string, options: Options) => {
    process.exitCode = await register(await commandConfig(), { name, path }, options);
  });

async function register(
  config: Config,
  { name, path }: { name: string; path: string },
  options: Options,
): Promise<number> {
  const workflow = options.workflow ?? config.registration.workflow;
  const folder = resolve(process.env.INIT_CWD ?? '', path);
  const [type, origin_path] = await checkAll([
    () => typeOf(config, options),
    () => originOf(config, folder),
    () => buildWorkflow(config, workflow, { dataset_id: 0, initiator: 'check' }),
    () => assertNamed(name),
  ]);
  const candidate: Candidate = {
    folder,
    dataset: {
      name: datasetNameOf(name),
      type,
      origin_path,
      create_method: 'ON_DEMAND',
      ...(options.description === undefined ? {} : { description: options.description }),
    },
  };
  const answer = options.dryRun ? await foresee(config, candidate) : await add(config, candidate, workflow);
  const row = { ...answer, note: answer.note.replace(RENAME, 'choose another name') };
  if (options.json) printJson({ dry_run: options.dryRun ?? false, ...row });
  else {
    process.stdout.write(`${textOf(row, options.dryRun ?? false)}\n`);
    tellHints([row]);
  }
  if (row.outcome === 'failed') return EXIT.failed;
  return row.outcome === 'taken' ? EXIT.state : EXIT.ok;
}

/** @throws E_USAGE for what a variable of a shell leaves that was never set */
function assertNamed(name: string): void {
  if (name.trim() === '')
    throw new LongshoreError('E_USAGE', 'the name is empty; expected that of the dataset');
}

/** @throws E_USAGE unless exactly one type was named, and it is configured */
function typeOf(config: Config, { rawData, dataProduct, datasetType }: Options): string {
  const named = [
    ...(rawData ? ['RAW_DATA'] : []),
    ...(dataProduct ? ['DATA_PRODUCT'] : []),
    ...(datasetType === undefined ? [] : [datasetType]),
  ];
  const [type, ...more] = named;
  if (type === undefined || more.length > 0)
    throw new LongshoreError(
      'E_USAGE',
      `${named.length === 0 ? 'no type was' : `${named.join(' and ')} were`} named; expected one of --raw-data, --data-product, --dataset-type`,
    );
  if (config.dataset_types.includes(type)) return type;
  throw new LongshoreError(
    'E_USAGE',
    `dataset type "${type}" is not configured; expected one of ${config.dataset_types.join(', ')}`,
  );
}

/** @throws E_ORIGIN_MISSING, E_USAGE when it is no folder, or one that Longshore writes itself */
async function originOf(config: Config, folder: string): Promise<string> {
  const found = await stat(folder).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  });
  if (found === null)
    throw new LongshoreError('E_ORIGIN_MISSING', `there is no folder ${folder}; nothing was registered`, {
      hint: 'Check the path, and that its file system is mounted.',
    });
  if (!found.isDirectory())
    throw new LongshoreError('E_USAGE', `${folder} is not a folder; nothing was registered`);
  const origin_path = await realpath(folder);
  refuseOwn(config, origin_path);
  return origin_path;
}

const foresee = (config: Config, candidate: Candidate): Promise<Row> =>
  withStoreIfAny(config, async (store) => {
    const [row] = await predict([candidate], store?.catalog ?? null);
    return row as Row;
  });

async function add(config: Config, candidate: Candidate, workflow: string): Promise<Row> {
  const log = createLogger('register_dataset', {}, { to: 2, level: variable('LOG_LEVEL') || 'error' });
  return alone({ config, log }, registering([candidate]), (_, away) =>
    addAlone(config, log, { candidate, workflow, away }),
  );
}

async function addAlone(
  config: Config,
  log: Logger,
  { candidate, workflow, away }: { candidate: Candidate; workflow: string; away: LongshoreError | null },
): Promise<Row> {
  const store = await openStore(config);
  const engine = await createEngine({ config, store, log, wait_seconds: 5 });
  try {
    const enqueue = enqueueOrTell(engine, away);
    const registrar = createRegistrar({ config, log, catalog: store.catalog, enqueue });
    const [outcome] = await registrar.register([candidate.dataset], { workflow, actor: currentUser() });
    if (outcome === undefined) throw new Error('the registration gave no answer');
    return rowOf(candidate, outcome);
  } finally {
    await engine.close();
    await store.close();
  }
}

function textOf({ folder, name, outcome, dataset_id, workflow_id, note }: Row, dry_run: boolean): string {
  const words = [
    `${name}: ${outcome}`,
    ...(dataset_id === null ? [] : [`dataset ${dataset_id}`]),
    ...(workflow_id === null ? [] : [`workflow ${workflow_id}`]),
    ...(note === '' ? [folder] : [note]),
  ];
  return `${words.join(', ')}${dry_run ? ' (dry run: nothing was changed)' : ''}`;
}

await runProgram(program);

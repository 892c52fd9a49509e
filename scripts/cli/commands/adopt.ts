import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Config } from '../../../config/index.ts';
import { archiveNamesOf } from '../../../workers/archive/index.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { adopt, type Adopted } from '../../bundles/adopt.ts';
import { tryEach } from '../each.ts';
import { bytes, counted, oneLine } from '../format.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, type Session, withStore } from '../session.ts';

interface Options {
  datasetType: string;
  archive?: string;
  dryRun?: boolean;
  json?: boolean;
}

/** adopt. */
export function addAdopt(program: Command): void {
  program
    .command('adopt')
    .argument('<bundle...>', 'paths of bundles in their archive, as NAME.tar')
    .summary('record bundles that the catalog does not know')
    .description(
      'Record bundles that lie in an archive and that the catalog does not know, from their manifests.',
    )
    .requiredOption('--dataset-type <type>', 'type of the datasets, as RAW_DATA')
    .option('--archive <name>', 'the archive that holds them; default: the first one of the type')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore adopt /data/archive/2026/raw_data/run_17.tar --dataset-type RAW_DATA',
        'longshore adopt /data/archive/*/raw_data/*.tar --dataset-type RAW_DATA --dry-run',
      ]),
    )
    .action(async (keys: string[], options: Options) => {
      // After a loss there is no catalog yet.
      process.exitCode = await withStore((session) => adoptAll(session, keys, options), {
        make: options.dryRun !== true,
      });
    });
}

async function adoptAll(
  session: Session,
  keys: readonly string[],
  { datasetType: type, archive, dryRun: dry_run = false, json = false }: Options,
): Promise<number> {
  const { dataset_types } = session.config;
  if (!dataset_types.includes(type))
    throw new LongshoreError(
      'E_USAGE',
      `dataset type "${type}" is not configured; expected one of ${dataset_types.join(', ')}`,
    );
  const name = archive ?? archiveNamesOf(session.config, type)[0] ?? '';
  const actor = currentUser();
  return tryEach(keys, { list: 'bundles', json }, async (given) => {
    const key = keyOf(session.config, name, given);
    const adopted = await adopt(session, { key, type, archive: name }, { actor, dry_run });
    return { json: dry_run ? { dry_run, ...adopted } : adopted, text: oneLine(lineOf(adopted)) };
  });
}

/**
 * Where keys are paths of this host, as `archive_path` has them: a worker, which would take a relative one as from its own
 * folder, would find nothing there.
 */
function keyOf({ archive }: Config, name: string, given: string): string {
  const backend = archive.backends[name];
  return backend?.kind === 'filesystem' && backend.root === undefined
    ? resolve(process.env.INIT_CWD ?? '', given)
    : given;
}

function lineOf({ outcome, key, name, dataset_id, size, files }: Adopted): string {
  const what = `${name}: ${counted(files, 'file')}, ${bytes(size)}`;
  if (outcome === 'present') return `${what}: dataset ${dataset_id} has this bundle already`;
  if (outcome === 'would adopt')
    return `${what}: would be recorded with ${key} (dry run: nothing was changed)`;
  return `${what}: recorded as dataset ${dataset_id} with ${key}; \`longshore verify ${dataset_id}\` proves it`;
}

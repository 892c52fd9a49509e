import type { Command } from 'commander';
import { LongshoreError } from '../../../workers/errors.ts';
import { writeOff, type WrittenOff } from '../../fixity/write-off.ts';
import { tryEach } from '../each.ts';
import { findDataset } from '../find.ts';
import { bytes, oneLine } from '../format.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson, type Session, withStore } from '../session.ts';

interface Options {
  force?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export function addWriteOff(program: Command): void {
  program
    .command('write-off')
    .argument('<archive>', 'name of an archive that is gone for good')
    .argument('[dataset...]', 'ids or names; default: all that have a copy there')
    .summary('forget copies in an archive that is lost')
    .description(
      'Forget the recorded copies in an archive that is lost, of datasets that have another copy that is proven and there. Nothing is changed in any archive.',
    )
    .option('--force', 'also the last copy: its dataset counts as not archived then')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail(['longshore write-off tape --dry-run', 'longshore write-off tape run_17 --force']),
    )
    .action(async (archive: string, words: string[], options: Options) => {
      process.exitCode = await withStore((session) => writeOffAll(session, archive, words, options));
    });
}

async function writeOffAll(
  session: Session,
  archive: string,
  words: readonly string[],
  { force = false, dryRun: dry_run = false, json = false }: Options,
): Promise<number> {
  const chosen = words.length > 0 ? words : await allIn(session, archive);
  if (chosen.length === 0) {
    if (json) printJson({ copies: [] });
    else process.stdout.write(`no copy is recorded in "${oneLine(archive)}"\n`);
    return 0;
  }
  const actor = currentUser();
  return tryEach(chosen, { list: 'copies', json }, async (word) => {
    const dataset = await findDataset(session.store, word);
    const written = await writeOff(session, dataset, { archive, actor, dry_run, force });
    return { json: dry_run ? { dry_run, ...written } : written, text: oneLine(lineOf(written, dry_run)) };
  });
}

/** @throws E_USAGE for a name that neither the configuration nor a record has */
async function allIn({ config, store }: Session, archive: string): Promise<string[]> {
  const held = await store.catalog.holdings();
  const names = new Set([...Object.keys(config.archive.backends), ...held.map((copy) => copy.archive)]);
  if (!names.has(archive))
    throw new LongshoreError(
      'E_USAGE',
      `there is no archive "${archive}"; expected one of ${[...names].join(', ')}`,
    );
  return held.filter((copy) => copy.archive === archive).map(({ dataset_id }) => `id:${dataset_id}`);
}

function lineOf({ dataset_id, name, archive, size, kept }: WrittenOff, dry_run: boolean): string {
  const done = dry_run ? 'would be written off (dry run: nothing was changed)' : 'written off';
  const rest = kept === null ? 'no proven copy is left' : `a proven one is in ${kept}`;
  return `dataset ${dataset_id} ${name}: the copy in ${archive} (${bytes(size)}) ${done}; ${rest}`;
}

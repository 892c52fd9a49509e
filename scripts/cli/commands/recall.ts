import { type Command, InvalidArgumentError } from 'commander';
import type { RecallListener, RecallParts } from '../../recall/findings.ts';
import { planRecall, type RecallOutcome, type RecallPlan, runRecall, wholeText } from '../../recall/run.ts';
import { facts } from '../dataset-view.ts';
import { findDataset } from '../find.ts';
import { bytes, count, counted, oneLine } from '../format.ts';
import { createMeter, type Meter } from '../meter.ts';
import { dryRunBesideArguments, EXIT, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson, type Session, withStore } from '../session.ts';
import { stopOnSignal } from '../stop.ts';

interface Options {
  to?: string;
  archive?: string;
  force?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export function addRecall(program: Command): void {
  program
    .command('recall')
    .argument('<dataset>', 'id or name')
    .argument(
      '<path...>',
      'files or folders in the dataset (a folder with all below it, "." for everything), or globs in quotes',
    )
    .description('bring single files back from the archive, proven, without staging the rest')
    .option(
      '--to <folder>',
      'where they are put, with their paths (default: ./<name of the dataset>)',
      folder,
    )
    .option(
      '--archive <name>',
      'only from this archive; default: the first that is reachable and has the bundle',
    )
    .option('--force', 'replace files and links that exist')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore recall run_17 SampleSheet.csv',
        "longshore recall run_17 'lane1/*.fastq.gz' reports --to /scratch/me/run_17",
        'longshore recall run_17 . --dry-run',
      ]),
    )
    .action(async (text: string, paths: string[], options: Options) => {
      process.exitCode = await withStore((session) => recall(session, text, paths, options));
    });
}

async function recall(session: Session, text: string, paths: string[], options: Options): Promise<number> {
  const { config, store } = session;
  const dataset = await findDataset(store, text);
  const stopping = stopOnSignal(
    'the recall',
    'what was complete stays',
    'The same command goes on where this one ended.',
  );
  const listener = createListener();
  const parts: RecallParts = { config, catalog: store.catalog, signal: stopping.signal, listener };
  const request = {
    paths,
    to: options.to ?? dataset.name,
    force: options.force ?? false,
    archive: options.archive,
    actor: currentUser(),
  };
  try {
    const plan = await planRecall(parts, dataset, request);
    if (options.dryRun) {
      plan.manifest.close();
      return showPlan(plan, config.paths.scratch, options.json);
    }
    const outcome = await runRecall(parts, plan);
    listener.end();
    await store.records.audit({
      actor: request.actor,
      action: 'dataset.recall',
      subject: `dataset:${dataset.id}`,
      details: { paths, to: plan.to, members: plan.members, bytes: plan.bytes },
    });
    showOutcome(plan, outcome, options.json);
    return EXIT.ok;
  } finally {
    listener.end();
    stopping.end();
  }
}

const LABELS = { fetch: 'fetching the bundle', recall: 'recalling', look: 'looking at what is there' };

function createListener(): RecallListener & { end(): void } {
  const out = process.stderr;
  let current: { what: string; meter: Meter } | null = null;
  const end = (): void => {
    current?.meter.end();
    current = null;
  };
  return {
    say: (text) => {
      current?.meter.end();
      out.write(`${oneLine(text)}\n`);
    },
    onProgress: (what, done, total) => {
      if (current?.what !== what) {
        end();
        const label = LABELS[what];
        current = { what, meter: createMeter(out, { label, total: total === 0 ? null : total }) };
      }
      current?.meter.set(done);
    },
    end,
  };
}

const placeOf = ({ at, archive, key }: RecallPlan['copies'][number]) => ({ archive, path: at.locate(key) });

function showPlan(plan: RecallPlan, scratch: string, json = false): number {
  const { to, members, files, bytes: size, kept, ranges, range_bytes, need, free, num_conflicts } = plan;
  const blocked = plan.request.force
    ? plan.conflicts.some(([, reason]) => reason !== 'exists')
    : num_conflicts > 0;
  const code = blocked || need > free ? EXIT.failed : EXIT.ok;
  const [first] = plan.copies;
  const whole = first?.at.capabilities.range === false && ranges > 0 ? first.size : null;
  if (json) {
    printJson({
      dry_run: true,
      dataset_id: plan.dataset.id,
      to,
      members,
      files,
      bytes: size,
      kept,
      ranges,
      range_bytes,
      fetch_bytes: whole,
      need,
      free,
      from: plan.copies.map(placeOf),
      conflicts: plan.conflicts,
      num_conflicts,
    });
    return code;
  }
  const out = process.stdout;
  facts(out, [
    ['members', `${count(members)} (${counted(files, 'file')}, ${bytes(size)})`],
    ['there', kept === 0 ? 'none of them' : `${count(kept)} of them, left as they are`],
    ['ranges', `${count(ranges)}, ${bytes(range_bytes)} at most`],
    ...plan.copies.map(
      (copy, at) =>
        [at === 0 ? 'from' : 'or from', `${copy.archive}: ${placeOf(copy).path}`] as [string, string],
    ),
    ['to', to],
    ['space', `${bytes(need)} needed, ${bytes(free)} free`],
  ]);
  if (whole !== null && first !== undefined) out.write(`${wholeText(first, scratch)}\n`);
  for (const [path, reason] of plan.conflicts) out.write(`in the way: ${oneLine(path)}: ${reason}\n`);
  if (num_conflicts > plan.conflicts.length)
    out.write(`and ${count(num_conflicts - plan.conflicts.length)} more\n`);
  out.write(`${blocked ? 'it would be refused' : 'would recall them'} (dry run: nothing was changed)\n`);
  return code;
}

function showOutcome(plan: RecallPlan, { from, damaged }: RecallOutcome, json = false): void {
  const { to, members, files, bytes: size, kept, dataset } = plan;
  if (json) {
    printJson({
      dataset_id: dataset.id,
      name: dataset.name,
      to,
      members,
      files,
      bytes: size,
      kept,
      from,
      damaged,
    });
    return;
  }
  const there = kept === 0 ? '' : `, ${count(kept)} of them were there already`;
  const names = from.map(({ archive }) => archive).join(', ');
  process.stdout.write(
    `recalled ${counted(members, 'member')} (${counted(files, 'file')}, ${bytes(size)}) of ${oneLine(dataset.name)} to ${oneLine(to)}${there}; each proven${names === '' ? '' : `; from ${names}`}\n`,
  );
  if (damaged.length > 0)
    process.stderr.write(
      `DAMAGE: ${count(damaged.length)} of them came from another copy, because one does not hold them as they were archived; see \`npx longshore fixity\`\n`,
    );
}

/** Of `--to "$DIR"` with nothing in the variable: the current folder would be filled instead. */
function folder(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('Expected a folder; "." is the current one.');
}

import { type Command, InvalidArgumentError } from 'commander';
import { pinOf, pinText } from '../../../workers/dataset/pin.ts';
import type { Dataset, Pin } from '../../../workers/dataset/types.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { findDatasets } from '../find.ts';
import { oneLine } from '../format.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson, type Session, withStore } from '../session.ts';

interface Options {
  days?: number;
  reason?: string;
  dryRun?: boolean;
  json?: boolean;
}

const DAY_MS = 86_400_000;

/** pin, unpin. */
export function addPin(program: Command): void {
  program
    .command('pin')
    .argument('<dataset...>', 'ids or names')
    .description('keep the staged copy: neither age, nor want of space, nor `longshore purge` removes it')
    .option('--days <n>', 'for so many days; default: until it is unpinned', days)
    .option('--reason <text>', 'why, for those who look at it later')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore pin run_17 --days 30 --reason "needed for the paper"']))
    .action((texts: string[], options: Options) =>
      withStore((session) => {
        const until =
          options.days === undefined ? null : new Date(Date.now() + options.days * DAY_MS).toISOString();
        return change(session, texts, { until, by: currentUser(), reason: options.reason ?? null }, options);
      }),
    );
  program
    .command('unpin')
    .argument('<dataset...>', 'ids or names')
    .description('take the pin away: the staged copy has its usual lifetime again')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore unpin run_17']))
    .action((texts: string[], options: Options) =>
      withStore((session) => change(session, texts, null, options)),
    );
}

async function change(
  { store }: Session,
  texts: readonly string[],
  pin: Pin | null,
  options: Options,
): Promise<void> {
  const { dryRun = false, json = false } = options;
  const datasets = await findDatasets(store, texts);
  const deleted = datasets.find(({ is_deleted }) => is_deleted);
  if (deleted !== undefined)
    throw new LongshoreError('E_DATASET_DELETED', `dataset ${deleted.id} (${deleted.name}) was deleted`);
  const rows = [];
  for (const dataset of datasets) {
    const before = pinOf(dataset);
    const changed = pin !== null || before !== null;
    if (changed && !dryRun) await record(store, dataset, before, pin);
    rows.push({ dataset_id: dataset.id, name: dataset.name, pinned: pin, before, changed });
  }
  if (json) return printJson(dryRun ? { dry_run: true, datasets: rows } : { datasets: rows });
  for (const row of rows) process.stdout.write(`${oneLine(lineOf(row, dryRun))}\n`);
}

/** Told first, as everything that a person does to a dataset: no change without its entry. */
async function record(
  { records, catalog }: Session['store'],
  { id }: Dataset,
  before: Pin | null,
  pin: Pin | null,
): Promise<void> {
  const action = pin === null ? 'dataset.unpin' : 'dataset.pin';
  await records.audit({
    actor: currentUser(),
    action,
    subject: `dataset:${id}`,
    details: { ...(pin ?? { before }) },
  });
  await catalog.patch(id, { metadata: { pinned: pin } });
}

function lineOf(
  row: { dataset_id: number; name: string; pinned: Pin | null; changed: boolean },
  dryRun: boolean,
): string {
  const what = `dataset ${row.dataset_id} ${row.name}`;
  if (!row.changed) return `${what} is not pinned`;
  const done = row.pinned === null ? 'unpinned' : `pinned ${pinText(row.pinned)}`;
  return dryRun ? `${what} would be ${done} (dry run: nothing was changed)` : `${what}: ${done}`;
}

function days(text: string): number {
  const value = Number(text);
  if (/^[0-9]+(\.[0-9]+)?$/.test(text) && value > 0 && value <= 36_500) return value;
  throw new InvalidArgumentError('Expected a number of days, as 30 or 0.5, at most 36500.');
}

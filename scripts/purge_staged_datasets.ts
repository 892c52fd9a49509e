/** Scheduled: removes staged copies that have outlived their days, and more where a stage file system is full. */
import { InvalidArgumentError } from 'commander';
import { buildWorkflow } from '../workers/workflows/definition.ts';
import { assertTaken } from '../workers/workflows/fleet.ts';
import { alone } from './cli/alone.ts';
import { ago, bytes } from './cli/format.ts';
import { showPlan } from './cli/plan-view.ts';
import { createProgram, dryRunOption, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { currentUser, type EngineSession, printJson, withEngine } from './cli/session.ts';
import { printTable } from './cli/table.ts';
import { type Candidate, type Choice, chooseCandidates } from './purge/candidates.ts';
import { measureAgain, usedPercent } from './purge/pressure.ts';
import { type Purge, purge, type PurgeRow } from './purge/staged.ts';

interface Options {
  daysToLive?: number;
  maxPurges?: number;
  dryRun?: boolean;
  json?: boolean;
}

const program = createProgram(
  'purge_staged_datasets',
  'Remove staged copies that have outlived their days (config.stage.purge), and those that a full stage file system needs gone; their archive stays.',
  [
    'node scripts/purge_staged_datasets.ts --dry-run',
    'node scripts/purge_staged_datasets.ts --days-to-live 5 --max-purges 100',
  ],
)
  .option('--days-to-live <days>', 'instead of the configured lifetimes', days)
  .option('--max-purges <n>', 'instead of config.stage.purge.max_purges', cap)
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText('after', `Another run of it is still active: ${EXIT.busy}`)
  .action(async (options: Options) => {
    process.exitCode = await withEngine((session) => run(session, options));
  });

async function run(session: EngineSession, options: Options): Promise<number> {
  return alone(session, { script: 'purge_staged_datasets', dry_run: options.dryRun ?? false }, (signal) =>
    purgeAll(session, options, signal),
  );
}

async function purgeAll(session: EngineSession, options: Options, signal: AbortSignal): Promise<number> {
  const { config, store, log } = session;
  const { dryRun: dry_run = false, json = false } = options;
  const choice = await chooseCandidates(config, store, options.daysToLive ?? null);
  if (!dry_run && choice.candidates.length > 0) await refuseWithoutWorker(session);
  const most = options.maxPurges ?? config.stage.purge.max_purges;
  const done: Purge[] = [];
  let purged = 0;
  let looked = 0;
  for (const candidate of choice.candidates) {
    if (signal.aborted || purged >= most) break;
    looked += 1;
    if (!dry_run && hasRoom(session, candidate)) continue;
    const one = await purge(session, candidate, { dry_run, actor: currentUser(), signal });
    // What is refused does not use up the cap: a few that cannot go would keep all others for ever.
    if (one.row.outcome === 'purged' || one.row.outcome === 'would purge') purged += 1;
    else log.warn(one.row, 'a staged copy was not purged');
    done.push(one);
  }
  const left = choice.candidates.length - looked;
  if (left > 0) log.warn({ left, max_purges: most }, 'more staged copies are due than one run may purge');
  if (!dry_run) warnOfPressure(session, choice);
  const rows = done.map(({ row }) => row);
  const { pinned } = choice;
  if (json)
    printJson({ dry_run, datasets: rows, left, pinned, ...(dry_run ? { plans: plansOf(done) } : {}) });
  else show(done, { left, pinned, dry_run });
  return rows.some(({ outcome }) => outcome === 'failed' || outcome === 'refused') ? EXIT.failed : EXIT.ok;
}

/** A workflow that nobody takes up would keep this script, and with it the next run of the schedule, for ever. */
async function refuseWithoutWorker({ config, engine }: EngineSession): Promise<void> {
  assertTaken(buildWorkflow(config, 'purge', { dataset_id: 0, initiator: 'check' }), await engine.fleet());
}

/** It was chosen by estimates; others may have freed more than that meanwhile. */
function hasRoom({ config, log }: EngineSession, { full, dataset }: Candidate): boolean {
  const { pressure } = config.stage.purge;
  if (full === null || pressure === null) return false;
  const used = usedPercent(measureAgain(full));
  if (used > pressure.low_percent) return false;
  log.info({ dataset_id: dataset.id, path: full.path, used_percent: used }, 'there is room again; it stays');
  return true;
}

function warnOfPressure({ config, log }: EngineSession, { file_systems }: Choice): void {
  const { pressure } = config.stage.purge;
  for (const one of file_systems.map(measureAgain)) {
    const used_percent = usedPercent(one);
    if (pressure !== null && used_percent > pressure.high_percent)
      log.warn({ path: one.path, used_percent, ...pressure }, 'a stage file system is still full');
  }
}

const plansOf = (done: readonly Purge[]) => done.flatMap(({ plan }) => plan ?? []);

function show(done: readonly Purge[], about: { left: number; pinned: number; dry_run: boolean }): void {
  const out = process.stdout;
  const rows = done.map(({ row }) => row);
  printTable(out, rows, [
    { title: 'ID', value: (row) => row.dataset_id, align: 'right' },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    { title: 'STAGED', value: (row) => ago(row.staged_at) },
    { title: 'SIZE', value: (row) => bytes(row.size), align: 'right' },
    { title: 'OUTCOME', value: (row) => row.outcome, style: (row) => STYLES[row.outcome] },
    { title: 'BECAUSE', value: (row) => row.reason, wrap: true },
    { title: 'NOTE', value: (row) => row.note, wrap: true },
  ]);
  if (about.dry_run && rows.length > 0) out.write('\n');
  if (about.dry_run) for (const plan of plansOf(done)) showPlan(out, plan);
  const freed = done
    .filter(({ row: { outcome } }) => outcome === 'purged' || outcome === 'would purge')
    .reduce((sum, { plan }) => sum + (plan?.totals.removed ?? 0), 0);
  const parts = [
    `${rows.length} looked at`,
    `${bytes(freed)} ${about.dry_run ? 'would be freed (dry run: nothing was changed)' : 'freed'}`,
    ...(about.pinned > 0 ? [`${about.pinned} pinned`] : []),
    ...(about.left > 0 ? [`${about.left} left for the next run (cap)`] : []),
  ];
  out.write(`${parts.join(', ')}\n`);
}

const STYLES = {
  purged: 'green',
  'would purge': 'green',
  kept: 'yellow',
  refused: 'red',
  failed: 'red',
} as const satisfies Record<PurgeRow['outcome'], string>;

function days(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError('Expected a number of days.');
}

function cap(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number.');
}

await runProgram(program);

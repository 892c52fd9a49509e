import type { Command } from 'commander';
import type { Dataset } from '../../../workers/dataset/types.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { missingTasks, refuseMistyped } from '../../../workers/fleet/missing-tasks.ts';
import type { WorkflowDocument } from '../../../workers/records/contract.ts';
import { buildWorkflow } from '../../../workers/workflows/definition.ts';
import { whyStepsWait } from '../../../workers/workflows/fleet.ts';
import { differencesOf } from '../../plan/intact.ts';
import { liveWorkflowOf } from '../../plan/plan.ts';
import { findDatasets } from '../find.ts';
import { startHint, untakenLine } from '../fleet-problems.ts';
import { follow } from '../follow.ts';
import { oneLine } from '../format.ts';
import { checkAll } from '../mistakes.ts';
import { dryRunBesideArguments, EXIT, helpTail, jsonOption } from '../program.ts';
import { currentStep, failureOf } from '../progress.ts';
import { currentUser, type EngineSession, printJson, withEngine } from '../session.ts';
import { asTyped } from '../typed.ts';
import {
  type Check,
  mustBeArchived,
  mustBeMeant,
  mustBePurgeable,
  mustBeStaged,
  type StartOptions,
} from './checks.ts';
import { startWaiting } from '../waiting.ts';
import { preview } from './preview.ts';

/** stage, archive, purge, qc, delete, and start for any other workflow. */
export function addStart(program: Command): void {
  command(
    program.command('stage').option('--force', 'also when a staged copy is there and intact'),
    'bring datasets back from the archive to disk',
    ['longshore stage run_17 --follow', 'longshore stage run_17 run_18 --dry-run'],
  ).action((texts: string[], options: StartOptions) => run('stage', texts, options));
  command(
    program
      .command('archive')
      .option('--force', 'also when the origin holds less than what is archived, whose place it takes'),
    'archive what the origin holds now, without waiting for it to be stable; what is archived already is not written again',
    ['longshore archive run_17 --dry-run'],
  ).action((texts: string[], options: StartOptions) => run('archive', texts, options));
  command(
    program
      .command('purge')
      .option('--force', 'also when no proven copy is in the archive; a pin holds all the same'),
    'remove the staged copy with its bundle and links; the archive keeps the dataset',
    ['longshore purge run_17', 'longshore purge 17 18 19 --dry-run'],
  ).action((texts: string[], options: StartOptions) => run('purge', texts, options));
  command(program.command('qc'), 'run FastQC and MultiQC over the staged copy', ['longshore qc 17']).action(
    (texts: string[], options: StartOptions) => run('qc', texts, options),
  );
  command(
    program.command('delete').option('--yes', 'do not ask'),
    'delete the archived bundle, the staged copy and its links; the origin stays',
    ['longshore delete 17 --dry-run'],
  ).action((texts: string[], options: StartOptions) => run('delete', texts, options));
  command(
    program
      .command('start')
      .argument('<workflow>', 'name in config.workflow_registry')
      .option('--yes', 'do not ask before a deletion')
      .option('--force', 'as of stage, archive and purge'),
    'start any configured workflow for datasets',
    ['longshore start integrated run_17'],
  ).action((workflow: string, texts: string[], options: StartOptions) => run(workflow, texts, options));
}

/** Of the workflows whose steps are known here; whatever else is configured may do as it likes. */
const CHECKS: Readonly<Record<string, Check>> = {
  stage: mustBeArchived,
  purge: mustBePurgeable,
  qc: mustBeStaged,
  delete: mustBeMeant,
};

function command(made: Command, description: string, examples: readonly string[]): Command {
  return made
    .argument('<dataset...>', 'ids or names')
    .description(description)
    .option('-f, --follow', 'show it until it has ended')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText('after', helpTail(examples));
}

/** Tasks that do with the kwarg `force` what they refuse without it. */
const HEEDING_FORCE: ReadonlySet<string> = new Set(['archive_dataset', 'purge_dataset']);

/** What became of one request. */
interface Started {
  readonly workflow_id: string | null;
  readonly workflow: string;
  readonly dataset_id: number;
  /** Another workflow was at work that brings the same. */
  readonly joined: boolean;
  /** Why nothing was started. */
  readonly note: string | null;
}

async function run(workflow: string, texts: readonly string[], options: StartOptions): Promise<void> {
  process.exitCode = await withEngine(async (session) => {
    const { store, config } = session;
    const [document, datasets] = await checkAll([
      () => buildWorkflow(config, workflow, { dataset_id: 0, initiator: currentUser() }),
      () => findDatasets(store, texts),
      () => refuseMistyped(config, workflow),
    ]);
    if (options.dryRun) return preview(session, workflow, datasets, options);
    // All or none: whoever names five datasets does not have to find out which ones were taken.
    const checks = datasets.map((dataset) => () => check(session, workflow, dataset, options));
    // A deletion asks: a wrong answer ends it, without another question.
    if (workflow === 'delete') for (const one of checks) await one();
    else await checkAll(checks);
    const started: Started[] = [];
    for (const dataset of datasets) {
      const one = await startOne(session, { workflow, document }, dataset, options);
      if (!options.json && !(options.follow && one.workflow_id !== null)) tell(one, dataset);
      started.push(one);
    }
    const ids = started.flatMap(({ workflow_id }) => workflow_id ?? []);
    if (options.follow && ids.length > 0) return followThem(session, ids, options.json);
    if (options.json) printJson(started.length === 1 ? started[0] : { started });
    else if (ids.length > 0) {
      for (const { message } of missingTasks(config, [workflow]))
        process.stderr.write(`On this host ${message}\n`);
      await warnWithoutWorker(session, document);
    }
    return EXIT.ok;
  });
}

async function check(
  session: EngineSession,
  workflow: string,
  dataset: Dataset,
  options: StartOptions,
): Promise<void> {
  refuseDeleted(dataset);
  // What is being landed is not in the archive yet, and will be staged by that. No other check may ever be left out.
  if (workflow !== 'stage' || !(await isAtWork(session, dataset))) await CHECKS[workflow]?.(dataset, options);
}

function refuseDeleted({ id, name, is_deleted }: Dataset): void {
  if (is_deleted) throw new LongshoreError('E_DATASET_DELETED', `dataset ${id} (${name}) was deleted`);
}

/** The engine then joins what is at work, or says what it is that stands in the way. */
const isAtWork = async ({ store }: EngineSession, { id }: Dataset): Promise<boolean> =>
  (await liveWorkflowOf(store, id)) !== null;

async function startOne(
  session: EngineSession,
  { workflow, document }: { workflow: string; document: WorkflowDocument },
  dataset: Dataset,
  { force = false }: StartOptions,
): Promise<Started> {
  const { config, store, engine } = session;
  const about = { workflow, dataset_id: dataset.id };
  if (workflow === 'stage' && !force && dataset.is_staged && !(await isAtWork(session, dataset))) {
    const waiting = startWaiting();
    waiting.on(`comparing the staged copy of dataset ${dataset.id} with what was archived`);
    const differences = await differencesOf(config, store, dataset);
    waiting.over();
    if (differences.length === 0)
      return {
        ...about,
        workflow_id: null,
        joined: false,
        note: `staged already, and intact: ${dataset.staged_path}`,
      };
  }
  const start = { dataset_id: dataset.id, initiator: currentUser() };
  // A staging is the same whether it was forced: that it may be shared with others must not depend on the word.
  const start_kwargs = force && document.steps.some(({ task }) => HEEDING_FORCE.has(task)) ? { force } : {};
  const { id, joined } = await engine.start(workflow, { ...start, start_kwargs });
  return { ...about, workflow_id: id, joined, note: null };
}

function tell({ workflow_id, workflow, joined, note }: Started, { id, name }: Dataset): void {
  const what = `dataset ${id} ${oneLine(name)}`;
  if (note !== null) process.stdout.write(`${what}: ${oneLine(note)}. --force stages it again\n`);
  else if (joined) process.stdout.write(`joined the workflow that brings ${what} already: ${workflow_id}\n`);
  else process.stdout.write(`started ${workflow} for ${what}: ${workflow_id}\n`);
}

async function warnWithoutWorker({ engine }: EngineSession, document: WorkflowDocument): Promise<void> {
  const fleet = await engine.fleet();
  if (fleet.workers.length === 0)
    process.stderr.write(`No worker is there; it begins when one is. ${await startHint()}\n`);
  else
    for (const why of whyStepsWait(document, fleet))
      process.stderr.write(`${untakenLine(why)}; its steps there wait until one does.\n`);
}

async function followThem({ store }: EngineSession, ids: readonly string[], json = false): Promise<number> {
  const leaving = new AbortController();
  process.once('SIGINT', () => leaving.abort());
  const out = json ? process.stderr : process.stdout;
  const ends = await follow({ store, workflow_ids: ids, out, signal: leaving.signal });
  const [first, second] = ends;
  if (first === undefined) throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `workflow ${ids[0]} is gone`);
  if (json)
    printJson(second === undefined ? first.workflow : { workflows: ends.map(({ workflow }) => workflow) });
  if (leaving.signal.aborted && !json) out.write(`it goes on; see \`npx longshore show ${first.id}\`\n`);
  for (const { workflow } of ends) {
    const failure = failureOf(currentStep(workflow)?.last_task_run);
    if (failure !== null && !json) process.stderr.write(`${oneLine(asTyped(failure.hint))}\n`);
  }
  const all = ends.length === ids.length && ends.every(({ workflow }) => workflow.status === 'SUCCESS');
  if (all) return EXIT.ok;
  // Not 0: what a script does next would find it half done.
  return leaving.signal.aborted ? EXIT.stopped : EXIT.failed;
}

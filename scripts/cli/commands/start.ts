import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import type { Dataset } from '../../../workers/dataset/types.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { buildWorkflow } from '../../../workers/workflows/definition.ts';
import { facts } from '../dataset-view.ts';
import { findDataset } from '../find.ts';
import { follow } from '../follow.ts';
import { bytes } from '../format.ts';
import { dryRunOption, EXIT, helpTail, jsonOption } from '../program.ts';
import { currentStep, failureOf } from '../progress.ts';
import { currentUser, type EngineSession, printJson, withEngine } from '../session.ts';

interface Options {
  follow?: boolean;
  dryRun?: boolean;
  json?: boolean;
  yes?: boolean;
}

/** stage, qc, delete, and start for any other workflow. */
export function addStart(program: Command): void {
  command(
    program.command('stage'),
    'bring the dataset back from the archive to disk',
    'longshore stage run_17 --follow',
  ).action((text: string, options: Options) => run('stage', text, options, mustBeArchived));
  command(program.command('qc'), 'run FastQC and MultiQC over the staged copy', 'longshore qc 17').action(
    (text: string, options: Options) => run('qc', text, options, mustBeStaged),
  );
  command(
    program.command('delete').option('--yes', 'do not ask'),
    'delete the archived bundle, the staged copy and its links; the origin stays',
    'longshore delete 17 --dry-run',
  ).action((text: string, options: Options) => run('delete', text, options, mustBeMeant));
  command(
    program.command('start').argument('<workflow>', 'name in config.workflow_registry'),
    'start any configured workflow for a dataset',
    'longshore start integrated run_17',
  ).action((workflow: string, text: string, options: Options) =>
    run(workflow, text, options, workflow === 'delete' ? mustBeMeant : async () => undefined),
  );
}

function command(made: Command, description: string, example: string): Command {
  return made
    .argument('<dataset>', 'id or name')
    .description(description)
    .option('-f, --follow', 'show it until it has ended')
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .addHelpText('after', helpTail([example]));
}

type Check = (dataset: Dataset, options: Options) => Promise<void>;

async function run(workflow: string, text: string, options: Options, check: Check): Promise<void> {
  process.exitCode = await withEngine(async (session) => {
    const { store, engine, config } = session;
    const dataset = await findDataset(store, text);
    const start = { dataset_id: dataset.id, initiator: currentUser() };
    const { steps } = buildWorkflow(config, workflow, start);
    if (dataset.is_deleted)
      throw new LongshoreError('E_DATASET_DELETED', `dataset ${dataset.id} (${dataset.name}) was deleted`);
    await check(dataset, options);
    if (options.dryRun) {
      const names = steps.map(({ name }) => name);
      if (options.json)
        printJson({ dry_run: true, would: 'start', workflow, dataset_id: dataset.id, steps: names });
      else
        process.stdout.write(
          `would start ${workflow} (${names.join(', ')}) for dataset ${dataset.id} ${dataset.name} (dry run: nothing was changed)\n`,
        );
      return EXIT.ok;
    }
    const { id } = await engine.start(workflow, start);
    return options.follow
      ? followIt(session, id, options.json)
      : told(session, id, workflow, dataset, options.json);
  });
}

async function told(
  { engine }: EngineSession,
  id: string,
  workflow: string,
  dataset: Dataset,
  json = false,
): Promise<number> {
  if (json) {
    printJson({ workflow_id: id, workflow, dataset_id: dataset.id });
    return EXIT.ok;
  }
  process.stdout.write(`started ${workflow} for dataset ${dataset.id} ${dataset.name}: ${id}\n`);
  if ((await engine.fleet()).workers.length === 0)
    process.stderr.write(
      'No worker is connected to the queue; it begins when one is started (`npm start`).\n',
    );
  return EXIT.ok;
}

async function followIt({ store }: EngineSession, id: string, json = false): Promise<number> {
  const leaving = new AbortController();
  process.once('SIGINT', () => leaving.abort());
  const out = json ? process.stderr : process.stdout;
  const [end] = await follow({ store, workflow_ids: [id], out, signal: leaving.signal });
  if (end === undefined) throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `workflow ${id} is gone`);
  if (json) printJson(end.workflow);
  if (leaving.signal.aborted && !json) out.write(`it goes on; see \`longshore show ${id}\`\n`);
  const failure = failureOf(currentStep(end.workflow)?.last_task_run);
  if (failure !== null && !json) process.stderr.write(`${failure.hint}\n`);
  return end.workflow.status === 'SUCCESS' || leaving.signal.aborted ? EXIT.ok : EXIT.failed;
}

const mustBeArchived: Check = async ({ id, name, archive_path }) => {
  if (archive_path !== null) return;
  throw new LongshoreError('E_NOT_ARCHIVED', `dataset ${id} (${name}) is not in the archive`, {
    hint: `Land it first: longshore start integrated ${id}.`,
  });
};

const mustBeStaged: Check = async ({ id, name, is_staged }) => {
  if (is_staged) return;
  throw new LongshoreError('E_WORKFLOW_STATE', `dataset ${id} (${name}) has no staged copy to look at`, {
    hint: `Stage it first: longshore stage ${id}.`,
  });
};

/** Deleting cannot be undone. */
const mustBeMeant: Check = async (dataset, { yes, dryRun, json }) => {
  if (!json)
    facts(process.stdout, [
      ['dataset', `${dataset.id} ${dataset.name} (${dataset.type}, ${bytes(dataset.size)})`],
      ['archive', dataset.archive_path],
      ['staged', dataset.staged_path],
      ['origin', `${dataset.origin_path} (stays)`],
    ]);
  if (yes || dryRun) return;
  if (process.stdin.isTTY !== true || process.stdout.isTTY !== true)
    throw new LongshoreError(
      'E_USAGE',
      `delete dataset ${dataset.id} (${dataset.name})? Give --yes to say so`,
    );
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const answer = await terminal.question(`Type the name (${dataset.name}) to delete it: `);
    if (answer.trim() === dataset.name) return;
  } finally {
    terminal.close();
  }
  throw new LongshoreError('E_USAGE', 'the name does not match; nothing was deleted', {
    hint: 'Type the name as it is shown, or give --yes.',
  });
};

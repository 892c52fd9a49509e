import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { downloadLinksOf } from '../../../workers/dataset/paths.ts';
import type { Dataset } from '../../../workers/dataset/types.ts';
import type { Attempt } from '../../../workers/records/contract.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { type ServedWorkflow, toServed } from '../../../workers/workflows/status.ts';
import { datasetFacts, facts, showSteps, workflowColumns } from '../dataset-view.ts';
import { type Outcome, tryEach } from '../each.ts';
import { find, namesOf, SHORT_ID } from '../find.ts';
import { ago, duration, oneLine, programLine } from '../format.ts';
import { problemLines } from '../problem-list.ts';
import { helpTail, jsonOption } from '../program.ts';
import { isDone } from '../progress.ts';
import { type Session, withStore } from '../session.ts';
import { paint, printTable, takesColour } from '../table.ts';
import { asTyped } from '../typed.ts';

export function addShow(program: Command): void {
  program
    .command('show')
    .argument('<id...>', 'ids or names of datasets, or ids of workflows')
    .description('all about datasets (paths, bundle, states, workflows) or workflows (steps, tries, errors)')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore show 17',
        'longshore show run_17',
        'longshore show 3d9ed8a4-5438-4b6b-af14-f6193186c136',
      ]),
    )
    .action(async (words: string[], { json = false }: { json?: boolean }) => {
      process.exitCode = await withStore((session) =>
        tryEach(words, { list: 'shown', json }, async (word) => {
          const found = await find(session.store, word);
          if (words.length > 1 && words[0] !== word && !json) process.stdout.write('\n');
          return found.kind === 'dataset'
            ? showDataset(session, found.dataset, json)
            : showWorkflow(session, found.id, json);
        }),
      );
    });
  program
    .command('logs')
    .argument('<id>', 'id of a workflow, or id or name of a dataset: all its workflows, one after the other')
    .description('what the programs of a workflow wrote')
    .option('-f, --follow', 'go on until the workflow has ended')
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore logs run_17 --follow', 'longshore logs 17 --json']))
    .action((id: string, options: LogOptions) => withStore((session) => logs(session, id, options)));
}

async function showDataset({ config, store }: Session, dataset: Dataset, json: boolean): Promise<Outcome> {
  const { results } = await store.records.listWorkflows({ dataset_id: dataset.id, limit: 100 });
  const workflows = results.map((one) => toServed(one));
  const report = await store.catalog.report(dataset.id);
  const links = dataset.is_staged ? downloadLinksOf(config, dataset) : null;
  const audit = await store.records.auditLog({ subject: `dataset:${dataset.id}`, limit: 20 });
  const copies = await store.catalog.copies(dataset.id);
  const told = { json: { dataset, copies, report, links, workflows, audit } };
  if (json) return told;
  const out = process.stdout;
  facts(out, [
    ...datasetFacts(dataset, copies),
    ...(links === null
      ? []
      : [['download', links.tree] as [string, string], ['', links.bundle] as [string, string]]),
    ...(report === null ? [] : [['QC report', report.path] as [string, string]]),
  ]);
  if (workflows.length > 0) out.write('\n');
  printTable(out, workflows, workflowColumns(out, await namesOf(store, [dataset.id])));
  const held = (await Promise.all(workflows.map((one) => holdUpOf(store, one)))).flatMap(
    (line) => line ?? [],
  );
  if (held.length > 0) out.write(`\n${held.join('\n')}\n`);
  return told;
}

/** Why a workflow that is not done does not go on right now; null: it runs, or nothing has been tried yet. */
async function holdUpOf(store: Session['store'], workflow: ServedWorkflow): Promise<string | null> {
  const step = workflow.steps[workflow.steps_done];
  const task_id = step?.last_task_run?._id;
  if (step === undefined || task_id === undefined) return null;
  const last = (await store.records.attempts(task_id)).at(-1);
  if (last === undefined || last.date_end === null) return null;
  const why = last.error === null ? last.reason : `${last.error.code}: ${last.error.message}`;
  const wait = last.next_attempt_at === null ? 0 : (Date.parse(last.next_attempt_at) - Date.now()) / 1000;
  const next = wait > 0 ? `; looked at again in ${duration(wait)}` : '';
  if (why === null) return null;
  const which = `${workflow.id.slice(0, SHORT_ID)} ${workflow.name ?? '-'}, ${step.name}`;
  const line = oneLine(`${which}: ${why}${next}`);
  if (last.error === null) return line;
  return `${line}\n${problemLines(last.error.fields)}${asTyped(last.error.hint)}`.trimEnd();
}

async function showWorkflow({ store }: Session, id: string, json: boolean): Promise<Outcome> {
  const found = await store.records.workflowWithRuns(id, { prev_runs: true });
  // Deleted since it was found.
  if (found === null) throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${id}`);
  const workflow = toServed(found);
  const attempts = await attemptsOf(store, workflow);
  const audit = await store.records.auditLog({ subject: `workflow:${id}`, limit: 20 });
  const { args, start_kwargs, revoked_at } = found.workflow;
  const told = {
    json: {
      workflow: { ...workflow, args, start_kwargs, revoked_at },
      attempts: Object.fromEntries(attempts),
      audit,
    },
  };
  if (json) return told;
  const out = process.stdout;
  const { dataset_id } = workflow;
  const name = (await namesOf(store, [dataset_id])).get(dataset_id ?? -1) ?? '';
  facts(out, [
    ['workflow', workflow.id],
    ['name', workflow.name],
    ['status', workflow.status],
    ['dataset', dataset_id === null ? null : `${dataset_id} ${name}`],
    ['started by', `${workflow.initiator || '-'}, ${ago(workflow.created_at)}`],
    ...(Object.keys(start_kwargs).length === 0
      ? []
      : [['arguments', JSON.stringify(start_kwargs)] as [string, string]]),
    ...audit
      .toReversed()
      .map(({ action, actor, at, details: { reason } }): [string, string] => [
        action.replace('workflow.', ''),
        `by ${actor}, ${ago(at)}${typeof reason === 'string' ? `: ${reason}` : ''}`,
      ]),
  ]);
  out.write('\n');
  showSteps(out, workflow, attempts);
  return told;
}

async function attemptsOf(
  store: Session['store'],
  workflow: ServedWorkflow,
): Promise<Map<string, Attempt[]>> {
  const ids = workflow.steps
    .flatMap((step) => [...(step.prev_task_runs ?? []), step.last_task_run])
    .flatMap((run) => (run ? [run._id] : []));
  return new Map(
    await Promise.all(ids.map(async (id) => [id, await store.records.attempts(id)] as [string, Attempt[]])),
  );
}

const PAGE = 1000;

interface LogOptions {
  follow?: boolean;
  json?: boolean;
}

async function logs(session: Session, text: string, options: LogOptions): Promise<void> {
  const found = await find(session.store, text);
  const ids = found.kind === 'workflow' ? [found.id] : await workflowsOf(session, found.dataset.id);
  let printed = 0;
  for (const id of ids) printed += await printLogs(session, id, options);
  if (printed === 0 && !options.json) process.stderr.write('no program has written anything here\n');
}

async function workflowsOf({ store: { records } }: Session, dataset_id: number): Promise<string[]> {
  const { results } = await records.listWorkflows({ dataset_id, sort_order_asc: true, limit: 1000 });
  return results.map(({ workflow }) => workflow.id);
}

async function printLogs(
  { store: { records } }: Session,
  workflow_id: string,
  { follow = false, json = false }: LogOptions,
): Promise<number> {
  const out = process.stdout;
  const colour = takesColour(out);
  let after = 0;
  let printed = 0;
  for (;;) {
    // Asked before the lines are: what was written before the end is then among them.
    const state = await records.workflowWithRuns(workflow_id);
    const ended = state === null || isDone(toServed(state).status);
    for (let lines = await records.logs({ workflow_id, after, limit: PAGE }); lines.length > 0; ) {
      for (const { timestamp, step, level, message } of lines) {
        const text = `${timestamp} ${step}: ${programLine(message)}`;
        if (!json) out.write(`${paint(text, level === 'stderr' ? 'yellow' : undefined, colour)}\n`);
      }
      if (json) for (const line of lines) out.write(`${JSON.stringify(line)}\n`);
      printed += lines.length;
      after = lines.at(-1)?.id ?? after;
      lines = await records.logs({ workflow_id, after, limit: PAGE });
    }
    if (!follow || ended) return printed;
    await sleep(300);
  }
}

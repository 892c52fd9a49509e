import type { Command } from 'commander';
import { LongshoreError } from '../../../workers/errors.ts';
import { toServed } from '../../../workers/workflows/status.ts';
import { findWorkflow } from '../find.ts';
import { checkAll } from '../mistakes.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, type EngineSession, printJson, withEngine } from '../session.ts';

interface Options {
  dryRun?: boolean;
  json?: boolean;
}

interface Row {
  workflow_id: string;
  name: string | null;
  /** That runs or is next. */
  step: string;
}

/** prioritize. */
export function addPrioritize(program: Command): void {
  program
    .command('prioritize')
    .usage('[options] <id...> <priority>')
    .argument(
      '<id...>',
      'ids of workflows, or ids or names of datasets: their active or newest workflow; last a priority, 0 to 9, larger sooner',
    )
    .description('change the priority of workflows: of the step that waits at once, and of their later steps')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail(['longshore prioritize run_17 9', 'longshore prioritize run_17 run_18 0 --dry-run']),
    )
    .action((words: string[], options: Options) =>
      withEngine((session) => prioritize(session, words.slice(0, -1), priorityOf(words), options)),
    );
}

/** @throws E_USAGE */
function priorityOf(words: readonly string[]): number {
  const last = words.at(-1) ?? '';
  if (words.length >= 2 && /^[0-9]$/.test(last)) return Number(last);
  const what =
    words.length < 2 ? 'expected at least one workflow and a priority' : `"${last}" is no priority`;
  throw new LongshoreError('E_USAGE', `${what}; the last word is a number from 0 to 9, larger sooner`);
}

/** All are looked up before one is changed: a misspelt name changes nothing. */
async function prioritize(
  { engine, store }: EngineSession,
  texts: readonly string[],
  priority: number,
  { dryRun = false, json = false }: Options,
): Promise<void> {
  const rows = await checkAll(texts.map((text) => async () => rowOf(store, await findWorkflow(store, text))));
  const actor = currentUser();
  if (!dryRun) for (const { workflow_id } of rows) await engine.prioritize(workflow_id, { actor, priority });
  if (json) return printJson({ dry_run: dryRun, priority, workflows: rows });
  const how = dryRun ? 'would have' : 'has';
  for (const { workflow_id, name, step } of rows)
    process.stdout.write(
      `${workflow_id} (${name ?? '-'}) ${how} priority ${priority} from step "${step}" on\n`,
    );
  if (dryRun) process.stdout.write('(dry run: nothing was changed)\n');
}

/** @throws E_WORKFLOW_STATE when nothing of it is left to be done */
async function rowOf(store: EngineSession['store'], workflow_id: string): Promise<Row> {
  const found = await store.records.workflowWithRuns(workflow_id);
  if (found === null) throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${workflow_id}`);
  const { name, steps, steps_done } = toServed(found);
  const step = steps[steps_done]?.name;
  if (step !== undefined) return { workflow_id, name, step };
  throw new LongshoreError('E_WORKFLOW_STATE', `workflow ${workflow_id} has succeeded; no step of it waits`);
}

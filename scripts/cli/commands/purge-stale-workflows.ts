import { alone, busyHelp } from '../alone.ts';
import { type Command, InvalidArgumentError } from 'commander';
import { LongshoreError } from '../../../workers/errors.ts';
import { type PurgedWorkflow, findStale, purgeWorkflow, type Stale } from '../../purge/workflows.ts';
import { ago } from '../format.ts';
import { checkAll } from '../mistakes.ts';
import { EXIT, flag, jsonOption } from '../program.ts';
import { currentUser, type EngineSession, printJson, withEngine } from '../session.ts';
import { printTable } from '../table.ts';
import { type Tool, valued, wholeNumber } from '../tool.ts';

interface Options {
  appId?: string;
  workflowTypes?: string[];
  ageThreshold?: number;
  maxPurgeCount?: number;
  dryRun?: boolean;
  json?: boolean;
}

const script = 'purge_stale_workflows';

export const purgeStaleWorkflowsTool: Tool = {
  script,
  description:
    'Remove records of workflows that the catalog does not name any more (config.workflow.purge). What is at work stays.',
  summary: 'remove records of workflows that the catalog does not name any more',
  examples: ['--dry-run', `--workflow_types '["integrated"]' --age_threshold 604800 --max_purge_count 100`],
  define: (command: Command) =>
    command
      .addOption(valued('app-id', 'id', 'whose workflows; default: config.app_id'))
      .addOption(valued('workflow-types', 'json', 'names, as ["integrated"]').argParser(types))
      .addOption(valued('age-threshold', 'seconds', 'younger ones stay').argParser(wholeNumber()))
      .addOption(valued('max-purge-count', 'n', 'at most so many in one run').argParser(wholeNumber()))
      .addOption(flag('dry-run', 'say what would be removed and change nothing'))
      .addOption(jsonOption())
      .addHelpText(
        'after',
        `\nA catalog that names no workflow at all purges nothing: ${EXIT.unavailable}${busyHelp}`,
      )
      .action(async (options: Options) => {
        process.exitCode = await withEngine((session) => {
          const dry_run = options.dryRun ?? false;
          return alone(session, { script, dry_run }, (signal) => purgeAll(session, options, signal));
        });
      }),
};

async function purgeAll(session: EngineSession, options: Options, signal: AbortSignal): Promise<number> {
  const { config, store, engine, log } = session;
  const { purge } = config.workflow;
  const { dryRun: dry_run = false, json } = options;
  const app_id = options.appId ?? config.app_id;
  await checkAll((options.workflowTypes ?? []).map((name) => () => refuseUnknown(session, app_id, name)));
  const age_seconds = options.ageThreshold ?? purge.age_threshold_seconds;
  const stale = await findStale(store, {
    app_id,
    types: options.workflowTypes ?? purge.types,
    created_before: new Date(Date.now() - age_seconds * 1000).toISOString(),
    max: options.maxPurgeCount ?? purge.max_purge_count,
  });
  const rows: PurgedWorkflow[] = [];
  for (const workflow of stale.chosen) {
    if (signal.aborted) break;
    if (dry_run) rows.push({ ...workflow, outcome: 'would purge', note: '' });
    else rows.push(await purgeWorkflow(engine, workflow, currentUser()));
  }
  if (stale.left > 0) log.warn({ left: stale.left }, 'more workflows are stale than one run may purge');
  if (json) printJson({ dry_run, workflows: rows, left: stale.left, running: stale.running });
  else show(rows, stale, dry_run);
  return rows.some(({ outcome }) => outcome === 'failed') ? EXIT.failed : EXIT.ok;
}

/**
 * A typing error would find nothing and look like a clean house. One that was configured once may still have records.
 *
 * @throws E_USAGE
 */
async function refuseUnknown({ config, store }: EngineSession, app_id: string, name: string): Promise<void> {
  const { workflow_registry } = config;
  if (Object.hasOwn(workflow_registry, name)) return;
  const { total } = await store.records.listWorkflows({ app_id, names: [name], limit: 1 });
  if (total > 0) return;
  throw new LongshoreError(
    'E_USAGE',
    `no workflow "${name}" is configured, and ${app_id} has no record of one; configured are ${Object.keys(workflow_registry).join(', ')}`,
  );
}

function show(rows: readonly PurgedWorkflow[], { left, running }: Stale, dry_run: boolean): void {
  printTable(process.stdout, rows, [
    { title: 'WORKFLOW', value: (row) => row.id },
    { title: 'NAME', value: (row) => row.name, shrink: true },
    { title: 'DATASET', value: (row) => row.dataset_id, align: 'right' },
    { title: 'STATUS', value: (row) => row.status },
    { title: 'CREATED', value: (row) => ago(row.created_at) },
    { title: 'OUTCOME', value: (row) => row.outcome },
    { title: 'NOTE', value: (row) => row.note, wrap: true },
  ]);
  const parts = [
    `${rows.length} stale workflows${dry_run ? ' (dry run: nothing was changed)' : ''}`,
    ...(running.length > 0 ? [`${running.length} more are at work and stay`] : []),
    ...(left > 0 ? [`${left} left for the next run (cap)`] : []),
  ];
  process.stdout.write(`${parts.join(', ')}\n`);
}

function types(text: string): string[] {
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list) && list.every((name) => typeof name === 'string' && name !== '')) return list;
  } catch {
    // A list of names without quotes, as the shell leaves it.
    if (/^[\w-]+(,[\w-]+)*$/.test(text)) return text.split(',');
  }
  throw new InvalidArgumentError(`Expected a JSON list of names, as '["integrated","stage"]'.`);
}

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Catalog, DatasetQuery } from '../../../workers/catalog/contract.ts';
import { type Dataset, DATASET_STATES as STATES } from '../../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../../workers/errors.ts';
import type { StatusGroup, WorkflowStatus } from '../../../workers/records/contract.ts';
import { listTasks, loadTask } from '../../../workers/tasks/registry.ts';
import { toServed } from '../../../workers/workflows/status.ts';
import { datasetColumns, workflowColumns } from '../dataset-view.ts';
import { findDataset, namesOf } from '../find.ts';
import { oneLine } from '../format.ts';
import { addLimit, type Limited, limitOf, tailOf } from '../limit.ts';
import { helpTail, jsonOption } from '../program.ts';
import { printJson, withStore } from '../session.ts';
import { printTable } from '../table.ts';

/** Datasets that are asked for at a time where their state is wanted. */
const PAGE = 100;
const STATUSES = ['PENDING', 'STARTED', 'SUCCESS', 'FAILURE', 'REVOKED', 'DONE', 'ACTIVE', 'EXCEPTION'];

export function addLists(program: Command): void {
  addDatasets(program);
  addWorkflows(program);
  program
    .command('tasks')
    .description('the tasks that steps can name')
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore tasks', "longshore tasks --json | jq -r '.tasks[].name'"]))
    .action(async ({ json }: { json?: boolean }) => {
      const tasks = await Promise.all(listTasks().map(describe));
      if (json) return printJson({ count: tasks.length, tasks });
      printTable(process.stdout, tasks, [
        { title: 'TASK', value: ({ name }) => name },
        { title: 'WHAT IT DOES', value: ({ description }) => description, wrap: true },
      ]);
    });
}

/** A task file that cannot be loaded is a line of the list: its author is looking at it. */
async function describe(name: string): Promise<{ name: string; description: string }> {
  return loadTask(name).then(
    ({ description }) => ({ name, description }),
    (error: unknown) => ({ name, description: `cannot be loaded: ${coerceError(error).message}` }),
  );
}

interface DatasetFilters extends Limited {
  type?: string;
  state?: string;
  name?: string;
  staged?: boolean;
  archived?: boolean;
  deleted?: boolean;
  json?: boolean;
}

function addDatasets(program: Command): void {
  addLimit(program.command('datasets'), 50)
    .description('datasets, the one that changed last first')
    .option('--type <type>', 'only of this type')
    .option('--name <text>', 'only with this in the name')
    .option('--state <state>', 'only whose last state is this, as STAGED')
    .option('--staged', 'only those with a staged copy')
    .option('--archived', 'only those in the archive')
    .option('--deleted', 'those that were deleted')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore datasets --type RAW_DATA --name run_17',
        'longshore datasets --state ARCHIVED --json',
      ]),
    )
    .action((filters: DatasetFilters) =>
      withStore(async ({ config, store: { catalog } }) => {
        const { type, name, staged, archived, deleted } = filters;
        const limit = limitOf(filters);
        if (type !== undefined && !config.dataset_types.includes(type))
          throw new LongshoreError(
            'E_USAGE',
            `dataset type "${type}" is not configured; expected one of ${config.dataset_types.join(', ')}`,
          );
        const query = dropUndefined({ type, name, staged, archived, deleted });
        const wanted = filters.state === undefined ? undefined : stateOf(filters.state);
        const { rows, count } =
          wanted === undefined
            ? await withStates(catalog, await catalog.list({ ...query, limit }))
            : await inState(catalog, query, wanted, limit);
        const shown = rows.slice(0, limit);
        if (filters.json) return printJson({ count, datasets: shown });
        printTable(process.stdout, shown, datasetColumns);
        process.stdout.write(`${tailOf(shown.length, count, 'dataset')}\n`);
      }),
    );
}

type Row = Dataset & { state: string };
type Page = Awaited<ReturnType<Catalog['list']>>;
type Listed = { rows: Row[]; count: number | null };

async function withStates(catalog: Catalog, page: Page): Promise<Listed> {
  const rows: Row[] = [];
  for (const dataset of page.datasets)
    rows.push({ ...dataset, state: (await catalog.states(dataset.id))[0]?.state ?? '-' });
  return { rows, count: page.count };
}

/** The state is not the catalog's to filter by: pages are read until enough have it. How many have it is then not known. */
async function inState(catalog: Catalog, query: DatasetQuery, state: string, limit: number): Promise<Listed> {
  const found: Row[] = [];
  for (let offset = 0; ; offset += PAGE) {
    const page = await catalog.list({ ...query, limit: PAGE, offset });
    const { rows } = await withStates(catalog, page);
    found.push(...rows.filter((row) => row.state === state));
    if (page.datasets.length < PAGE) return { rows: found, count: found.length };
    if (found.length > limit) return { rows: found, count: null };
  }
}

function stateOf(text: string): string {
  const state = text.toUpperCase();
  if ((STATES as readonly string[]).includes(state)) return state;
  throw new LongshoreError(
    'E_USAGE',
    `"${oneLine(text)}" is no state of a dataset; expected one of ${STATES.join(', ')}`,
  );
}

function dropUndefined(query: { [K in keyof DatasetQuery]: DatasetQuery[K] | undefined }): DatasetQuery {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined));
}

interface WorkflowFilters extends Limited {
  status?: WorkflowStatus | StatusGroup;
  dataset?: string;
  name?: string;
  json?: boolean;
}

function addWorkflows(program: Command): void {
  addLimit(program.command('workflows'), 20)
    .description('workflows, newest first')
    .addOption(new Option('--status <status>', 'only in this status').choices(STATUSES).argParser(statusOf))
    .option('--dataset <dataset>', 'only of this dataset (id or name)')
    .option('--name <workflow>', 'only of this kind, as integrated')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail(['longshore workflows --status ACTIVE', 'longshore workflows --dataset run_17']),
    )
    .action((filters: WorkflowFilters) =>
      withStore(async ({ config, store }) => {
        const { status, name } = filters;
        const dataset_id =
          filters.dataset === undefined ? undefined : (await findDataset(store, filters.dataset)).id;
        const { total: count, results } = await store.records.listWorkflows({
          app_id: config.app_id,
          status,
          name,
          dataset_id,
          limit: limitOf(filters),
        });
        const workflows = results.map((one) => toServed(one));
        if (filters.json) return printJson({ count, workflows });
        const names = await namesOf(
          store,
          workflows.map((one) => one.dataset_id),
        );
        printTable(process.stdout, workflows, workflowColumns(process.stdout, names));
        process.stdout.write(`${tailOf(workflows.length, count, 'workflow')}\n`);
      }),
    );
}

/** In either case, as --state takes it. */
function statusOf(text: string): string {
  const status = text.toUpperCase();
  if (STATUSES.includes(status)) return status;
  throw new InvalidArgumentError(`Allowed choices are ${STATUSES.join(', ')}.`);
}

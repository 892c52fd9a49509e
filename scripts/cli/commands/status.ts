import type { Command } from 'commander';
import type { Catalog, CopyFixity, Untold } from '../../../workers/catalog/contract.ts';
import type { Config } from '../../../config/index.ts';
import { coerceError } from '../../../workers/errors.ts';
import type { SeenWorker } from '../../../workers/queue/registry.ts';
import type { Records, WorkflowStatus } from '../../../workers/records/contract.ts';
import { type Refusal, refusalsOf } from '../../../workers/watch/refusals.ts';
import { sourcesOf } from '../../../workers/watch/watch.ts';
import type { ServedWorkflow } from '../../../workers/workflows/status.ts';
import { facts, workflowIdText } from '../dataset-view.ts';
import { namesOf } from '../find.ts';
import { forgottenQueues, readyIn, takersProblems } from '../fleet-problems.ts';
import { ago, counted, duration, oneLine } from '../format.ts';
import { EXIT, helpTail, jsonOption } from '../program.ts';
import { currentStep, failureOf, failureText, waitsFor } from '../progress.ts';
import { type EngineSession, printJson, withEngine } from '../session.ts';
import { paint, printTable, takesColour } from '../table.ts';
import { asTyped } from '../typed.ts';

const SHOWN = 10;
const ON_ITS_WAY_MS = 60_000;
/** Of those that are at work the newest, for what they wait for. */
const LOOKED_AT = 200;

interface Queue {
  running: number;
  ready: number;
  later: number;
  stopped: number;
}

interface StatusWorker {
  name: string;
  age_seconds: number;
  /** Of all its queues. */
  slots: number;
  busy: number;
}

interface Status {
  workers: StatusWorker[] | null;
  /** Steps in all queues. */
  queue: Queue | null;
  workflows: Record<WorkflowStatus, number>;
  /** Null: the catalog lies behind an API that is away. */
  datasets: { total: number; archived: number; staged: number } | null;
  /** Changes that the facility's API has yet to be told; null where there is none. */
  untold: Untold | null;
  /** Archived copies that are known to be damaged or missing. */
  fixity: { failed: number };
  /** Failed, and not dismissed by a revoke; the newest of `failed`. */
  needs_a_person: ServedWorkflow[];
  failed: number;
  /** Folders of the watched sources, with the reason; the first 1,000 of each source. */
  not_registered: { total: number; folders: (Refusal & { source: string })[] };
  problems: string[];
}

export function addStatus(program: Command): void {
  program
    .command('status')
    .description('workers, queue, workflows, datasets, and what waits for a person')
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore status', 'longshore status --json | jq .queue']))
    .action(async ({ json }: { json?: boolean }) => {
      process.exitCode = await withEngine(async (session) => {
        const status = await statusOf(session);
        if (json) printJson(status);
        else await show(session, status);
        return status.queue === null || status.datasets === null ? EXIT.unavailable : EXIT.ok;
      });
    });
}

async function statusOf({ config, engine, store: { catalog, records } }: EngineSession): Promise<Status> {
  const problems: string[] = [];
  // The records tell most of it: an API or a Redis that is away is a line of the answer, not its end.
  const orProblem = (error: unknown): null => {
    const { code, message, hint } = coerceError(error);
    problems.push(`${code}: ${message}. ${asTyped(hint)}`);
    return null;
  };
  const [refused, datasets, untold, workflows, failed, started, { results: waiting }, damaged] =
    await Promise.all([
      notRegistered(config, records),
      datasetsIn(catalog).catch(orProblem),
      catalog.untold?.() ?? null,
      engine.counts(),
      engine.list({ app_id: config.app_id, status: 'FAILURE', revoked: false, limit: SHOWN }),
      engine.list({ app_id: config.app_id, status: 'STARTED', limit: LOOKED_AT }),
      // Of those that were started under another configuration the oldest.
      records.listWorkflows({
        app_id: config.app_id,
        status: 'ACTIVE',
        limit: LOOKED_AT,
        sort_order_asc: true,
      }),
      catalog.fixity({ failed: true }),
    ]);
  if (damaged.length > 0) problems.push(fixityProblem(damaged));
  problems.push(...waitProblems(started.results));
  const fleet = await engine.fleet().catch(orProblem);
  if (fleet !== null) problems.push(...(await takersProblems(fleet)), ...forgottenQueues(fleet, waiting));
  return {
    workers: fleet?.workers.map(workerOf) ?? null,
    queue: fleet === null ? null : queueOf(fleet.jobs),
    workflows,
    datasets,
    untold,
    fixity: { failed: damaged.length },
    needs_a_person: failed.results,
    failed: failed.metadata.total,
    not_registered: refused,
    problems,
  };
}

async function datasetsIn(catalog: Catalog): Promise<NonNullable<Status['datasets']>> {
  // One after the other: where the first gets no answer the others are not asked.
  const { count: total } = await catalog.list({ limit: 1 });
  const { count: archived } = await catalog.list({ archived: true, limit: 1 });
  const { count: staged } = await catalog.list({ staged: true, limit: 1 });
  return { total, archived, staged };
}

async function notRegistered(
  config: Config,
  records: Pick<Records, 'note'>,
): Promise<Status['not_registered']> {
  const notes = await Promise.all(
    sourcesOf(config).map(async ({ path }) => ({ source: path, note: await refusalsOf(records, path) })),
  );
  return {
    total: notes.reduce((sum, { note }) => sum + note.total, 0),
    folders: notes.flatMap(({ source, note }) => note.folders.map((one) => ({ source, ...one }))),
  };
}

/** By the code with which tasks wait for it. */
const AWAY = {
  E_ARCHIVE_UNAVAILABLE: 'an archive',
  E_STAGE_AWAY: 'the stage folder',
  E_API_UNAVAILABLE: 'the API',
  E_API_FAILED: 'the API',
};

/** They go on by themselves, and yet somebody may have to mount, or to start, what they wait for. */
function waitProblems(workflows: readonly ServedWorkflow[]): string[] {
  return Object.entries(AWAY).flatMap(([code, what]) => {
    const waits = workflows.flatMap((one) => waitsFor(currentStep(one)?.last_task_run, code) ?? []);
    const [first] = waits;
    if (first === undefined) return [];
    const many = waits.length === 1 ? 'A workflow' : `${waits.length} workflows`;
    return [`${code}: ${many} will go on when ${what} is back. ${oneLine(first)}`];
  });
}

function fixityProblem(damaged: readonly CopyFixity[]): string {
  const [first] = damaged;
  const one = first === undefined ? '' : `${first.name} in ${first.archive}: ${first.finding?.result}`;
  const more = damaged.length > 1 ? `, and ${damaged.length - 1} more` : '';
  return `E_FIXITY: archived copies are damaged or missing (${oneLine(one)}${more}). See npx longshore fixity --failed.`;
}

function workerOf({ name, started_at, queues }: SeenWorker): StatusWorker {
  return {
    name,
    age_seconds: (Date.now() - Date.parse(started_at)) / 1000,
    slots: queues.reduce((sum, { slots }) => sum + slots, 0),
    busy: queues.reduce((sum, { busy }) => sum + busy, 0),
  };
}

/** BullMQ's states in our words: a step is ready, or comes later (waits, is tried again). */
function queueOf(jobs: Readonly<Record<string, number>>): Queue {
  const sum = (...states: string[]): number => states.reduce((total, state) => total + (jobs[state] ?? 0), 0);
  return {
    running: sum('active'),
    ready: readyIn(jobs),
    later: sum('delayed'),
    stopped: sum('failed'),
  };
}

async function show({ store }: EngineSession, status: Status): Promise<void> {
  const out = process.stdout;
  const { workers, queue, workflows, datasets, needs_a_person } = status;
  const listed = Object.entries(workflows).map(([name, count]) => `${count} ${name}`);
  facts(out, [
    ['workers', workers === null ? null : [workers.length, ...workers.map(workerText)].join(', ')],
    [
      'steps',
      queue === null
        ? null
        : `${queue.running} running, ${queue.ready} ready, ${queue.later} later, ${queue.stopped} stopped`,
    ],
    ['workflows', listed.join(', ')],
    [
      'datasets',
      datasets === null
        ? null
        : `${datasets.total}, ${datasets.archived} archived, ${datasets.staged} staged`,
    ],
    ...untoldFacts(status.untold),
    ...(status.not_registered.total === 0
      ? []
      : [['not registered', refusedText(status.not_registered)] as [string, string]]),
  ]);
  for (const problem of status.problems) out.write(`\n${paint(problem, 'red', takesColour(out))}\n`);
  if (needs_a_person.length === 0) return;
  const names = await namesOf(
    store,
    needs_a_person.map(({ dataset_id }) => dataset_id),
  );
  const more = status.failed - needs_a_person.length;
  out.write(
    `\n${paint('Waiting for a person', 'bold', takesColour(out))}${more > 0 ? ` (and ${more} more: npx longshore workflows --status FAILURE)` : ''}\n`,
  );
  printTable(out, needs_a_person, [
    { title: 'WORKFLOW', value: ({ id }) => workflowIdText(out, id) },
    { title: 'DATASET', value: ({ dataset_id }) => names.get(dataset_id ?? -1), shrink: true, least: 8 },
    { title: 'STEP', value: (one) => one.steps[one.steps_done]?.name, shrink: true, least: 8 },
    { title: 'SINCE', value: sinceText, spare: true },
    { title: 'CODE', value: (one) => errorOf(one).code, style: () => 'red' },
    { title: 'ERROR', value: (one) => errorOf(one).message, shrink: true, least: 8, cut: 'end' },
  ]);
  out.write(
    'Details and what to do: npx longshore show <workflow>; then: npx longshore resume <workflow>, or revoke to dismiss it\n',
  );
}

/** `12 changes, the first 20 min ago; …`. What has waited for less is on its way. */
function untoldFacts(untold: Untold | null): [string, string][] {
  const since = untold?.since ?? null;
  if (untold === null || since === null || Date.now() - Date.parse(since) < ON_ITS_WAY_MS) return [];
  const many = counted(untold.changes, 'change');
  return [['not yet told', `${many}, the first ${ago(since)}; the API gets them when it takes them`]];
}

/** `3 folders (2 taken, 1 small); reasons: npx longshore status --json`. */
function refusedText({ total, folders }: Status['not_registered']): string {
  const kinds = [...Map.groupBy(folders, ({ kind }) => kind)].map(([kind, all]) => `${all.length} ${kind}`);
  const listed = folders.length < total ? `of the first ${folders.length} ` : '';
  const what = total === 1 ? 'folder' : 'folders';
  return `${total} ${what} (${listed}${kinds.join(', ')}); reasons: npx longshore status --json`;
}

/** Of the failure, not of what was done with the workflow since. */
const sinceText = (workflow: ServedWorkflow): string =>
  ago(workflow.steps[workflow.steps_done]?.last_task_run?.date_done ?? workflow.updated_at);

const workerText = ({ name, age_seconds, slots, busy }: StatusWorker): string =>
  `${name} (${busy} of ${counted(slots, 'slot')}, up ${duration(age_seconds)})`;

function errorOf(workflow: ServedWorkflow): { code: string; message: string } {
  const failure = failureOf(workflow.steps[workflow.steps_done]?.last_task_run);
  if (failure === null) return { code: '-', message: '' };
  const code = failure.code ?? failure.exc_type;
  return { code, message: failureText(failure).slice(code.length + 2) };
}

import { pinOf, pinText } from '../../workers/dataset/pin.ts';
import { type BundleCopy, type Dataset, openFinding } from '../../workers/dataset/types.ts';
import type { Attempt } from '../../workers/records/contract.ts';
import type { ServedStep, ServedWorkflow } from '../../workers/workflows/status.ts';
import { ago, bytes, count, counted, duration, moment, oneLine } from './format.ts';
import { SHORT_ID } from './find.ts';
import { problemLines } from './problem-list.ts';
import { elapsedOf, failureOf, failureText, meterText, styleOf } from './progress.ts';
import { type Column, columnsOf, type Out, paint, printTable, takesColour } from './table.ts';
import { asTyped } from './typed.ts';

/** What the operator's commands show of datasets and workflows. */
export const workflowColumns = (out: Out, names: ReadonlyMap<number, string>): Column<ServedWorkflow>[] => [
  { title: 'WORKFLOW', value: ({ id }) => workflowIdText(out, id) },
  { title: 'NAME', value: (one) => one.name },
  { title: 'STATUS', value: (one) => one.status, style: (one) => styleOf(one.status) },
  { title: 'STEP', value: stepText, shrink: true },
  {
    title: 'DATASET',
    value: (one) => (one.dataset_id === null ? '-' : `${one.dataset_id} ${names.get(one.dataset_id) ?? ''}`),
    shrink: true,
  },
  { title: 'CREATED', value: (one) => ago(one.created_at) },
  {
    title: 'TOOK',
    value: (one) => (one.status === 'PENDING' ? '-' : duration(elapsedOf(one))),
    align: 'right',
    spare: true,
  },
];

/** Below so many columns of a terminal, whole ids of workflows would leave no room for what else there is to know. */
const ROOMY = 140;

/** The beginning of it, by which commands find it too, where the terminal is narrow. */
export const workflowIdText = (out: Out, id: string): string =>
  out.isTTY === true && (columnsOf(out) ?? ROOMY) < ROOMY ? id.slice(0, SHORT_ID) : id;

function stepText(workflow: ServedWorkflow): string {
  const step = workflow.steps[workflow.steps_done];
  return step === undefined ? 'done' : `${workflow.steps_done + 1}/${workflow.total_steps} ${step.name}`;
}

export const datasetColumns: Column<Dataset & { state: string }>[] = [
  { title: 'ID', value: (one) => one.id, align: 'right' },
  { title: 'NAME', value: (one) => one.name, shrink: true },
  { title: 'TYPE', value: (one) => one.type },
  { title: 'STATE', value: (one) => one.state },
  { title: 'SIZE', value: (one) => bytes(one.size), align: 'right' },
  { title: 'FILES', value: (one) => count(one.num_files), align: 'right', spare: true },
  { title: 'STAGED', value: stagedText },
  { title: 'UPDATED', value: (one) => ago(one.updated_at), spare: true },
];

function stagedText(dataset: Dataset): string {
  const pinned = pinOf(dataset) === null ? '' : ', pinned';
  return `${dataset.is_staged ? 'yes' : 'no'}${pinned}`;
}

export function facts(
  out: Out,
  rows: readonly [name: string, value: string | number | null | undefined][],
): void {
  const width = Math.max(...rows.map(([name]) => name.length));
  const colour = takesColour(out);
  for (const [name, value] of rows)
    out.write(`${paint(name.padEnd(width), 'bold', colour)}  ${oneLine(String(value ?? '-'))}\n`);
}

/** @param copies as the catalog has them: what was found about them stands beside the last proof */
export function datasetFacts(
  dataset: Dataset,
  copies: readonly BundleCopy[],
): [string, string | number | null][] {
  const { bundle, states = [] } = dataset;
  const pin = pinOf(dataset);
  const digests = Object.entries(bundle?.digests ?? {}).map(([name, digest]) => `${name} ${digest}`);
  const verified = bundle?.verified_at
    ? `, read back and proven ${ago(bundle.verified_at)}`
    : ', not yet read back';
  return [
    ['dataset', dataset.id],
    ['name', dataset.name],
    ['type', dataset.type],
    ['registered', `${ago(dataset.created_at)} (${dataset.create_method ?? '-'})`],
    [
      'states',
      states
        .map(({ state }) => state)
        .toReversed()
        .join(' → '),
    ],
    ['origin', dataset.origin_path],
    [
      'content',
      dataset.num_files === null
        ? 'not inspected yet'
        : `${bytes(dataset.size)}, ${counted(dataset.num_files, 'file')}, ${counted(dataset.num_directories, 'folder')}`,
    ],
    ['archive', dataset.archive_path],
    ['bundle', bundle ? `${bundle.name}, ${bytes(bundle.size)}${verified}` : null],
    ...digests.map((digest): [string, string] => ['', digest]),
    ...copies.flatMap(damageOf),
    ['staged', dataset.staged_path],
    ...(pin === null ? [] : [['pinned', pinText(pin)] as [string, string]]),
    ...(dataset.description === null ? [] : [['description', dataset.description] as [string, string]]),
    ...metadataFacts(dataset.metadata),
  ];
}

function damageOf(copy: BundleCopy): [string, string][] {
  const finding = openFinding(copy);
  if (finding === null) return [];
  const { archive, result, at, actor, dataset_id } = finding;
  return [
    ['DAMAGED', `in ${archive}: ${result}, found ${ago(at)} by ${actor}; npx longshore fixity ${dataset_id}`],
  ];
}

/** A line for each key. */
const metadataFacts = (metadata: Dataset['metadata']): [string, string][] =>
  Object.entries(metadata).map(([key, value], at) => [
    at === 0 ? 'metadata' : '',
    `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  ]);

/** Steps, then every attempt that did not simply succeed, then what to do about the last failure. */
export function showSteps(
  out: Out,
  workflow: ServedWorkflow,
  attempts: ReadonlyMap<string, readonly Attempt[]>,
): void {
  printTable(out, workflow.steps, [
    { title: 'STEP', value: (step) => step.name },
    { title: 'TASK', value: (step) => step.task },
    { title: 'STATUS', value: (step) => step.status, style: (step) => styleOf(step.status) },
    {
      title: 'RUNS',
      value: (step) => (step.prev_task_runs?.length ?? 0) + (step.last_task_run ? 1 : 0),
      align: 'right',
    },
    {
      title: 'TRIES',
      value: (step) => attempts.get(step.last_task_run?._id ?? '')?.length ?? 0,
      align: 'right',
    },
    { title: 'TOOK', value: tookText, align: 'right' },
    { title: 'WORKER', value: (step) => step.last_task_run?.worker, shrink: true },
    { title: 'CODE', value: (step) => codeText(attempts.get(step.last_task_run?._id ?? '')?.at(-1)) },
    { title: 'NOW', value: nowText, shrink: true },
  ]);
  const tries = workflow.steps.flatMap((step) =>
    [...(step.prev_task_runs ?? []), step.last_task_run]
      .flatMap((run) => folded(attempts.get(run?._id ?? '') ?? []))
      .map((tries) => ({ step, ...tries })),
  );
  if (tries.length > 0) out.write('\n');
  printTable(out, tries, [
    { title: 'STEP', value: ({ step }) => step.name },
    { title: 'TRY', value: ({ attempt }) => attempt.number, align: 'right' },
    { title: 'STARTED', value: ({ attempt }) => moment(attempt.date_start) },
    { title: 'CODE', value: ({ attempt }) => codeText(attempt) },
    { title: 'ENDED AS', value: ({ attempt }) => attempt.outcome },
    {
      title: 'BECAUSE',
      value: ({ attempt: { error, reason }, times }) =>
        `${times > 1 ? `(${times} times) ` : ''}${error === null ? reason : `${error.code}: ${error.message}`}`,
      shrink: true,
    },
    { title: 'NEXT TRY', value: ({ attempt }) => moment(attempt.next_attempt_at) },
  ]);
  const failure = failureOf(workflow.steps[workflow.steps_done]?.last_task_run);
  if (failure === null) return;
  out.write(`\n${oneLine(failureText(failure))}\n${problemLines(failure.fields)}`);
  // One that the reference recorded has none.
  if (failure.hint) out.write(`${asTyped(failure.hint)}\n`);
}

/** Those that did not simply succeed. A day of waits for an archive is one line, the last of them. */
function folded(attempts: readonly Attempt[]): { attempt: Attempt; times: number }[] {
  const lines: { attempt: Attempt; times: number }[] = [];
  for (const attempt of attempts) {
    if (attempt.outcome === 'success' || attempt.outcome === null) continue;
    const last = lines.at(-1);
    const waits = attempt.outcome === 'postponed' && attempt.error !== null;
    const same = last?.attempt.outcome === 'postponed' && last.attempt.error?.code === attempt.error?.code;
    if (waits && same && last !== undefined) Object.assign(last, { attempt, times: last.times + 1 });
    else lines.push({ attempt, times: 1 });
  }
  return lines;
}

/** The digest says whether two tries ran the same code; the commit where to look. `--json` has both whole. */
function codeText(attempt: Attempt | undefined): string {
  if (!attempt?.code) return '-';
  const { digest, commit, package: release } = attempt.code;
  return `${digest.slice(0, 8)} (${commit === null ? release : commit.slice(0, 7)})`;
}

function tookText(step: ServedStep): string {
  const run = step.last_task_run;
  if (!run?.date_start) return '-';
  return duration(
    (Date.parse(run.date_done ?? new Date().toISOString()) - Date.parse(run.date_start)) / 1000,
  );
}

function nowText(step: ServedStep): string {
  const failure = failureOf(step.last_task_run);
  return failure === null ? meterText(step.last_task_run) : (failure.code ?? failure.exc_type);
}

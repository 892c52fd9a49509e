import type { TaskFailure, TaskRun, WorkflowStatus } from '../../workers/records/contract.ts';
import type { ServedStep, ServedWorkflow } from '../../workers/workflows/status.ts';
import { bytes, count, duration, oneLine, rate } from './format.ts';
import type { Style } from './table.ts';
import { asTyped } from './typed.ts';

/** What is known of a workflow at one moment. All functions here are pure: they turn it into text. */
export interface Followed {
  id: string;
  /** Name of the dataset. */
  dataset: string;
  workflow: ServedWorkflow;
}

export const isDone = (status: WorkflowStatus): boolean =>
  status === 'SUCCESS' || status === 'FAILURE' || status === 'REVOKED';

export const styleOf = (status: string): Style | undefined =>
  (
    ({
      SUCCESS: 'green',
      FAILURE: 'red',
      REVOKED: 'yellow',
      RETRY: 'yellow',
      STARTED: 'cyan',
      PENDING: 'gray',
    }) as Record<string, Style | undefined>
  )[status];

/** The step that runs, waits or failed; null when all have succeeded. */
export function currentStep(workflow: ServedWorkflow): ServedStep | null {
  return workflow.steps[workflow.steps_done] ?? null;
}

export function failureOf(run: TaskRun | null | undefined): TaskFailure | null {
  if (run === null || run === undefined || run.status === 'STARTED' || run.status === 'SUCCESS') return null;
  const { result } = run;
  return typeof result === 'object' && result !== null && 'exc_type' in result
    ? (result as TaskFailure)
    : null;
}

/** `E_NO_SPACE: need 3 TiB, have 1 TiB`. */
export function failureText(failure: TaskFailure): string {
  const message = failure.exc_message.map((part) => (typeof part === 'string' ? part : JSON.stringify(part)));
  return `${failure.code ?? failure.exc_type}: ${message.join(' ')}`;
}

/** Of a step that waits, with this code, for a file system, an archive or an API that is away: for what; null for every other. */
export function waitsFor(run: TaskRun | null | undefined, code: string): string | null {
  if (run?.status !== 'STARTED' || typeof run.result !== 'object' || run.result === null) return null;
  const { code: of } = run.result as { code?: unknown };
  const text = 'waits' in run.result && of === code ? figuresText({ ...run.result }) : '';
  return text === '' ? null : text;
}

/** `42% · 1.2 of 2.9 GiB · 310 MiB/s · 6 s left`; '' while nothing is known yet. */
export function meterText(run: TaskRun | null | undefined): string {
  if (run?.status !== 'STARTED' || typeof run.result !== 'object' || run.result === null) return '';
  return figuresText(run.result as Record<string, unknown>);
}

/** Of a progress object, as tasks report them. */
export function figuresText(meter: Readonly<Record<string, unknown>>): string {
  const number = (key: string): number | null => (typeof meter[key] === 'number' ? meter[key] : null);
  const remaining = number('time_remaining_sec');
  const done = number('done');
  if (typeof meter.waits === 'string' && typeof meter.next_attempt_at === 'string') {
    const left = (Date.parse(meter.next_attempt_at) - Date.now()) / 1000;
    return left > 0 ? `${meter.waits}; looked at again in ${duration(left)}` : '';
  }
  // Waiting for stability knows only how long it will take if nothing changes any more.
  if (done === null) {
    if (remaining === null) return '';
    return remaining > 0 ? `stable in ${duration(remaining)} if unchanged` : 'waiting to be looked at again';
  }
  const inBytes = meter.units === 'bytes';
  const total = number('total');
  if (total === 0) return ''; // Nothing is to be done.
  const figure = (value: number): string => (inBytes ? bytes(value) : count(value));
  const speed = number('wt_avg_rate') ?? number('avg_rate');
  const fraction = number('fraction_done');
  return [
    fraction === null ? '' : `${Math.min(100, Math.floor(fraction * 100))}%`,
    `${figure(done)}${total === null ? '' : ` of ${figure(total)}`}${inBytes || typeof meter.units !== 'string' ? '' : ` ${meter.units}`}`,
    speed === null || speed < 0.5 ? '' : inBytes ? rate(speed) : `${count(Math.round(speed))}/s`,
    // 1e100 stands for "no rate yet" in the reference's progress objects.
    remaining === null || remaining > 1e9 || fraction === 1 ? '' : `${duration(remaining)} left`,
  ]
    .filter((part) => part !== '')
    .join(' · ');
}

/** From the start of the first step to the end of the last, in seconds. */
export function elapsedOf(workflow: ServedWorkflow, now = Date.now()): number {
  const runs = workflow.steps
    .map((step) => step.last_task_run)
    .filter((run) => run !== null && run !== undefined);
  const start = Date.parse(runs[0]?.date_start ?? workflow.created_at ?? '');
  const ends = runs.map((run) => Date.parse(run.date_done ?? ''));
  const end = isDone(workflow.status) ? Math.max(start, ...ends.filter((at) => !Number.isNaN(at))) : now;
  return (end - start) / 1000;
}

const MARKS: Record<WorkflowStatus, string> = {
  PENDING: '·',
  STARTED: '▸',
  SUCCESS: '✔',
  FAILURE: '✖',
  REVOKED: '■',
};

export interface StatusLine {
  mark: string;
  dataset: string;
  workflow: string;
  step: string;
  detail: string;
  status: WorkflowStatus;
}

/** One workflow in one line. */
export function statusLine({ dataset, workflow }: Followed, now = Date.now()): StatusLine {
  const step = currentStep(workflow);
  const run = step?.last_task_run;
  const position = `${Math.min(workflow.steps_done + 1, workflow.total_steps)}/${workflow.total_steps}`;
  const head = {
    mark: MARKS[workflow.status],
    dataset,
    workflow: workflow.name ?? '-',
    status: workflow.status,
  };
  if (step === null) return { ...head, step: 'done', detail: duration(elapsedOf(workflow, now)) };
  const failure = failureOf(run);
  const detail = {
    PENDING: workflow.steps_done === 0 ? 'waiting for a slot' : 'next in the queue',
    STARTED: meterText(run),
    RETRY: `to be tried again: ${failure === null ? 'after an error' : failureText(failure)}`,
    FAILURE: failure === null ? 'failed' : failureText(failure),
    REVOKED: 'stopped; `npx longshore resume` continues it',
    SUCCESS: '',
  }[step.status];
  return { ...head, step: `${position} ${step.name}`, detail: oneLine(detail) };
}

/** What changed between two looks at a workflow, as lines for a log. `before` null: seen for the first time. */
export function changeLines(before: Followed | null, after: Followed): string[] {
  const { dataset, workflow } = after;
  const label = `${oneLine(dataset)}: `;
  const lines: string[] = [];
  if (before === null) lines.push(`${label}${workflow.name ?? '-'} (${workflow.id})`);
  for (const [at, step] of workflow.steps.entries()) {
    const was = before?.workflow.steps[at];
    const run = step.last_task_run;
    const same = was?.status === step.status && was.last_task_run?._id === run?._id;
    if (same && was?.last_task_run?.retries === run?.retries) continue;
    const text = stepChange(step);
    if (text !== '') lines.push(`${label}${step.name} ${text}`);
  }
  if (isDone(workflow.status) && before?.workflow.status !== workflow.status)
    lines.push(`${label}${workflow.name ?? '-'} ${workflow.status} after ${duration(elapsedOf(workflow))}`);
  return lines;
}

function stepChange(step: ServedStep): string {
  const run = step.last_task_run;
  const failure = failureOf(run);
  const because = failure === null ? '' : `: ${oneLine(failureText(failure))}`;
  if (step.status === 'STARTED') return run?.retries ? `started, try ${run.retries + 1}` : 'started';
  if (step.status === 'SUCCESS') {
    const took = (Date.parse(run?.date_done ?? '') - Date.parse(run?.date_start ?? '')) / 1000;
    return `done in ${duration(took)}`;
  }
  if (step.status === 'RETRY') return `will be tried again${because}`;
  if (step.status === 'FAILURE')
    return `FAILED${because}${failure?.hint ? ` (${asTyped(failure.hint)})` : ''}`;
  return step.status === 'REVOKED' ? 'stopped' : '';
}

/** Runs of a workflow, which of its steps is pending, and what a run is given. */
import { ObjectId } from 'mongodb';
import type { ErrorReport } from '../../errors.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { asJson } from '../../mongodb/values.ts';
import { now, toJson } from '../../sqlite/values.ts';
import type { AttemptOutcome, AttemptProcess, Claim, WorkflowStatus } from '../contract.ts';
import {
  type AttemptPart,
  naiveNow,
  nextTaskIdOf,
  parsed,
  queueOf,
  RUNS,
  type RunRecord,
  startArgsOf,
  type StepDocument,
  type WorkflowRecord,
} from './documents.ts';
import { move, type RunEvent, type RunState, STATUS_OF, stateOf } from '../transition.ts';

export type Runs = ReadonlyMap<string, RunRecord>;

export const runsOf = (mongo: Mongo) => mongo.collection<RunRecord>(RUNS);

/**
 * Task ids of a step, oldest first. The next one counts as soon as its run is there: a process may have been killed after
 * it wrote the run, and before it added it to the workflow.
 */
function taskIdsOf(workflow: WorkflowRecord, position: number): string[] {
  const begun = (workflow.steps[position]?.task_runs ?? []).map(({ task_id }) => task_id);
  const next = nextTaskIdOf(workflow, position);
  return begun.includes(next) ? begun : [...begun, next];
}

export const allTaskIdsOf = (workflow: WorkflowRecord): string[] =>
  [...workflow.steps.keys()].flatMap((position) => taskIdsOf(workflow, position));

/** All runs of these workflows, in one query. */
export async function loadRuns(mongo: Mongo, workflows: readonly WorkflowRecord[]): Promise<Runs> {
  const ids = workflows.flatMap(allTaskIdsOf);
  if (ids.length === 0) return new Map();
  const found = await mongo.run(() =>
    runsOf(mongo)
      .find({ _id: { $in: ids } })
      .toArray(),
  );
  return new Map(found.map((run) => [run._id, run]));
}

export const runsOfStep = (workflow: WorkflowRecord, position: number, runs: Runs): RunRecord[] =>
  taskIdsOf(workflow, position).flatMap((id) => runs.get(id) ?? []);

export const lastRunOf = (workflow: WorkflowRecord, position: number, runs: Runs): RunRecord | undefined =>
  runsOfStep(workflow, position, runs).at(-1);

/** Position of the first step whose last run is not SUCCESS; -1 when every step has succeeded. */
export const pendingPosition = (workflow: WorkflowRecord, runs: Runs): number =>
  workflow.steps.findIndex((_, position) => lastRunOf(workflow, position, runs)?.status !== 'SUCCESS');

export function derivedStatus(workflow: WorkflowRecord, runs: Runs): WorkflowStatus {
  const position = pendingPosition(workflow, runs);
  if (position === -1) return 'SUCCESS';
  const status = lastRunOf(workflow, position, runs)?.status ?? 'PENDING';
  if (status === 'FAILURE' || status === 'REVOKED') return status;
  return status === 'PENDING' && position === 0 ? 'PENDING' : 'STARTED';
}

export const isOpen = (attempt: AttemptPart | null | undefined): attempt is AttemptPart =>
  attempt !== null && attempt !== undefined && attempt.date_end === null;

export const stateOfRun = (run: RunRecord | null): RunState => stateOf(run, isOpen(run?.attempt));

/** The run whose newest attempt is this one, and open; null when it comes too late. */
export const current = (
  run: RunRecord | null,
  number: number,
): (RunRecord & { attempt: AttemptPart }) | null =>
  run !== null && stateOfRun(run) === 'open' && run.attempt?.number === number
    ? { ...run, attempt: run.attempt }
    : null;

/** One that was paused before it began has no attempt; one that the reference ran does not say. */
export const lastBegunRunOf = (
  workflow: WorkflowRecord,
  position: number,
  runs: Runs,
): RunRecord | undefined => runsOfStep(workflow, position, runs).findLast(({ attempt }) => attempt !== null);

/**
 * What a new run of the step is given: what its last run was that began. For a step that has never begun what a resume
 * gave, else what the previous step handed on, else what the workflow was started with. Null: nobody knows.
 */
export function argsOf(workflow: WorkflowRecord, position: number, runs: Runs): unknown[] | null {
  const begun = lastBegunRunOf(workflow, position, runs)?.args;
  if (Array.isArray(begun)) return begun;
  const given = workflow.steps[position]?.args;
  if (given !== undefined) return given;
  const previous = position === 0 ? undefined : lastRunOf(workflow, position - 1, runs);
  return previous === undefined ? startArgsOf(workflow) : returnedBy(previous).slice(0, 1);
}

/** What the task returned, of a run that has succeeded. */
export function returnedBy({ result }: RunRecord): unknown[] {
  const returned = parsed(result);
  return Array.isArray(returned) ? returned : [];
}

export function newRun(
  workflow: WorkflowRecord,
  position: number,
  given: { args: unknown[]; worker: string; state: RunState },
): Omit<RunRecord, '_id'> {
  const step = workflow.steps[position] as StepDocument;
  return {
    status: STATUS_OF[given.state],
    result: null,
    traceback: null,
    children: [],
    date_done: null,
    name: step.task,
    args: given.args,
    kwargs: {
      ...step.kwargs,
      ...workflow.start_kwargs,
      workflow_id: workflow._id,
      step: step.name,
      app_id: workflow.app_id ?? '',
    },
    worker: given.worker,
    retries: 0,
    queue: queueOf(workflow, step),
    workflow_id: workflow._id,
    step: step.name,
    position,
    is_last: position === workflow.steps.length - 1,
    dataset_id: workflow.dataset_id ?? null,
    date_start: new Date(),
    order: new ObjectId(),
    losses: 0,
    blame: 0,
    attempt: null,
    closed: null,
  };
}

/** What a run that the reference began lacks, to go on as one of ours. */
export function lackingIn(
  run: RunRecord,
  workflow: WorkflowRecord,
  position: number,
  runs: Runs,
): Partial<RunRecord> {
  if (run.workflow_id !== undefined) return {};
  const args = argsOf(workflow, position, runs) ?? [];
  const { date_start } =
    workflow.steps[position]?.task_runs?.find(({ task_id }) => task_id === run._id) ?? {};
  const own = {
    ...newRun(workflow, position, { args, worker: '', state: stateOfRun(run) }),
    ...(date_start === undefined ? {} : { date_start }),
  };
  return Object.fromEntries(Object.entries(own).filter(([field]) => !Object.hasOwn(run, field)));
}

export const openAttempt = (
  number: number,
  { worker, host, process }: Pick<Claim, 'worker' | 'host' | 'process'>,
): AttemptPart => ({
  number,
  worker,
  host,
  pgid: process?.pgid ?? null,
  code: process?.code ?? null,
  date_start: now(),
  date_end: null,
  outcome: null,
  error: null,
  reason: null,
  next_attempt_at: null,
});

/** Where the run has no result yet it is the process. A postponed run keeps its last progress: the next look replaces it. */
export const resultWith = (result: string | null, process: AttemptProcess | undefined): string | null =>
  result === null && process !== undefined
    ? toJson({ pid: process.pid, hostname: process.hostname })
    : result;

export const closeAttempt = (
  attempt: AttemptPart,
  end: { outcome: AttemptOutcome; error?: ErrorReport; reason?: string; next_attempt_at?: string },
): AttemptPart => ({
  ...attempt,
  date_end: now(),
  outcome: end.outcome,
  error: end.error === undefined ? null : asJson(end.error),
  reason: end.reason ?? null,
  next_attempt_at: end.next_attempt_at ?? null,
});

/** Moves the run by the table; a final state gets its date. */
export function moved(
  from: RunState,
  event: RunEvent,
  outcome: { result: unknown; traceback?: string },
): Pick<RunRecord, 'status' | 'result' | 'traceback' | 'date_done'> {
  const state = move(from, event);
  const final = state === 'success' || state === 'failure' || state === 'revoked';
  return {
    status: STATUS_OF[state],
    result: toJson(outcome.result),
    traceback: outcome.traceback ?? null,
    date_done: final ? naiveNow() : null,
  };
}

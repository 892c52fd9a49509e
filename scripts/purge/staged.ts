/** One staged copy after the other, each by a workflow `purge` of its own: the task is the one place that removes them. */
import type { ByteSize } from '../../workers/dataset/byte-size.ts';
import { coerceError, type ErrorCode, LongshoreError } from '../../workers/errors.ts';
import { follow } from '../cli/follow.ts';
import { currentStep, failureOf, isDone } from '../cli/progress.ts';
import type { EngineSession } from '../cli/session.ts';
import type { Plan } from '../plan/model.ts';
import { planWorkflow } from '../plan/plan.ts';
import type { Candidate } from './candidates.ts';

export interface PurgeRow {
  dataset_id: number;
  name: string;
  type: string;
  staged_at: string | null;
  size: ByteSize | null;
  /** `kept`: in use, and looked at again next time. `refused`: it may not go until a person has seen to it. */
  outcome: 'purged' | 'would purge' | 'kept' | 'refused' | 'failed';
  /** Why it was chosen. */
  reason: string;
  note: string;
}

export interface Purge {
  readonly row: PurgeRow;
  /** What it was judged by. */
  readonly plan: Plan | null;
}

export interface PurgeOptions {
  readonly dry_run: boolean;
  readonly actor: string;
  readonly signal?: AbortSignal | undefined;
}

/** Never throws: the next one may go all the same. */
export async function purge(
  session: EngineSession,
  candidate: Candidate,
  options: PurgeOptions,
): Promise<Purge> {
  const { dataset, staged_at, reason } = candidate;
  const { id, name, type, size } = dataset;
  const row = { dataset_id: id, name, type, staged_at, size, reason, note: '' };
  const ended = (outcome: PurgeRow['outcome'], note: string, plan: Plan | null): Purge => ({
    row: { ...row, outcome, note },
    plan,
  });
  try {
    const plan = await planWorkflow(session, 'purge', dataset);
    const [stop] = plan.stops;
    if (stop !== undefined) return ended(outcomeOf(stop.code), `${stop.code}: ${stop.message}`, plan);
    if (options.dry_run) return ended('would purge', dataset.staged_path ?? '', plan);
    const note = await runPurge(session, candidate, options);
    return note === null ? ended('purged', dataset.staged_path ?? '', plan) : ended('kept', note, plan);
  } catch (error) {
    const { code, message } = coerceError(error);
    return ended(outcomeOf(code), `${code}: ${message}`, null);
  }
}

/** What is in use, or pinned a moment ago, is as it should be; without a copy in the archive somebody has to look. */
function outcomeOf(code: ErrorCode): PurgeRow['outcome'] {
  if (code === 'E_WORKFLOW_STATE') return 'kept';
  const refused: readonly ErrorCode[] = [
    'E_NAME_UNSAFE',
    'E_NOT_ARCHIVED',
    'E_BUNDLE_MISSING',
    'E_BUNDLE_CORRUPT',
  ];
  return refused.includes(code) ? 'refused' : 'failed';
}

/** Null when it is gone; else why the task left it. @throws the failure of the task */
async function runPurge(
  { store, engine }: EngineSession,
  { dataset, staged_at, reason }: Candidate,
  { actor, signal }: PurgeOptions,
): Promise<string | null> {
  const { id } = await engine.start('purge', {
    dataset_id: dataset.id,
    initiator: actor,
    start_kwargs: { reason, staged_at },
  });
  const quiet = { write: () => undefined };
  const [end] = await follow({
    store,
    workflow_ids: [id],
    out: quiet,
    isTTY: false,
    ...(signal === undefined ? {} : { signal }),
  });
  const workflow = end?.workflow;
  if (workflow === undefined || !isDone(workflow.status)) return `it goes on: npx longshore show ${id}`;
  const run = (currentStep(workflow) ?? workflow.steps.at(-1))?.last_task_run;
  const failure = failureOf(run);
  if (failure !== null) throw new LongshoreError(failure.code as ErrorCode, failure.exc_message.join(' '));
  const [, answer] = (run?.result ?? []) as [number?, { note: string | null }?];
  return answer?.note ?? null;
}

/** What a workflow would do with a dataset, step by step, found out without changing anything. */
import type { Config } from '../../config/index.ts';
import { humanBytes } from '../../workers/content/human-bytes.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { WorkflowDocument } from '../../workers/records/contract.ts';
import type { Store } from '../../workers/store.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { brings } from '../../workers/workflows/joining.ts';
import { planArchive, planAwaitStability, planInspect } from './archive-steps.ts';
import { type Ground, groundFor } from './ground.ts';
import { differencesOf } from './intact.ts';
import type { Need, Plan, PlannedStep, Stop, Totals } from './model.ts';
import { expectation } from './rates.ts';
import { planDelete, planDeleteSource, planPurge } from './removal-steps.ts';
import { isShort, roomsFor } from './space.ts';
import { planQc, planSetupDownload, planStage, planValidate } from './stage-steps.ts';
import type { Planner } from './step.ts';

const PLANNERS: Readonly<Record<string, Planner>> = {
  await_stability: planAwaitStability,
  inspect_dataset: planInspect,
  archive_dataset: planArchive,
  stage_dataset: planStage,
  validate_dataset: planValidate,
  setup_dataset_download: planSetupDownload,
  generate_qc: planQc,
  purge_dataset: planPurge,
  delete_source: planDeleteSource,
  delete_dataset: planDelete,
};

export interface PlanOptions {
  readonly force?: boolean;
  /** Told of what takes long. */
  readonly onWait?: (what: string) => void;
}

export async function planWorkflow(
  { config, store }: { config: Config; store: Store },
  workflow: string,
  dataset: Dataset,
  { force = false, onWait }: PlanOptions = {},
): Promise<Plan> {
  const document = buildWorkflow(config, workflow, { dataset_id: dataset.id, initiator: 'plan' });
  const ground = await groundFor({
    config,
    store,
    dataset,
    force,
    ...(onWait === undefined ? {} : { onWait }),
  });
  const steps: PlannedStep[] = [];
  const stops: Stop[] = [];
  if (dataset.is_deleted) stops.push(stopOf(null, deleted(dataset)));
  const standing = dataset.is_deleted ? null : await standingOf(ground, document);
  if (standing?.would === 'stop') stops.push(standing.stop);
  for (const { name, task, kwargs } of dataset.is_deleted ? [] : document.steps) {
    const planner = PLANNERS[task];
    const draft =
      planner === undefined
        ? { notes: [`what ${task} reads and writes is not known beforehand`], amount: null }
        : await planner(ground, kwargs);
    // What stops several steps is told of the first one.
    const known = new Set(stops.map(({ message }) => message));
    const more = (draft.stops ?? []).filter(({ message }) => !known.has(message));
    stops.push(...more.map((error) => stopOf(name, error)));
    steps.push({
      step: name,
      task,
      reads: draft.reads ?? [],
      writes: draft.writes ?? [],
      removes: draft.removes ?? [],
      links: draft.links ?? [],
      needs: draft.needs ?? [],
      notes: draft.notes ?? [],
      amount: draft.amount,
      expected: draft.amount === null ? null : await expectation(store, task, draft.amount),
    });
  }
  const space = roomsFor(
    config,
    steps.flatMap(({ needs }) => needs),
  );
  if (standing === null || standing.would === 'start') stops.push(...spaceStops(config, steps));
  const settled = standing?.would === 'join' || standing?.would === 'nothing';
  return {
    workflow,
    dataset_id: dataset.id,
    dataset: dataset.name,
    type: dataset.type,
    would: settled ? standing.would : stops.length > 0 ? 'stop' : 'start',
    because: settled ? standing.because : null,
    steps,
    space,
    stops: settled ? [] : stops,
    totals: totalsOf(steps),
  };
}

type Standing =
  | { readonly would: 'start' }
  | { readonly would: 'stop'; readonly stop: Stop }
  | { readonly would: 'join' | 'nothing'; readonly because: string };

/** What stands in its way, or makes it needless: another workflow, or a copy that is there and intact. */
async function standingOf(ground: Ground, document: WorkflowDocument): Promise<Standing> {
  const { store, dataset, config, force } = ground;
  const other = await liveWorkflowOf(store, dataset.id);
  if (other !== null) {
    if (brings(other, document)) return { would: 'join', because: other.id };
    const message = `workflow ${other.id} (${other.name}) works on dataset ${dataset.id} already`;
    const hint = `Wait for it, or take it out with \`longshore revoke ${other.id}\`.`;
    return { would: 'stop', stop: stopOf(null, new LongshoreError('E_WORKFLOW_STATE', message, { hint })) };
  }
  const stages = document.steps[0]?.task === 'stage_dataset';
  if (!stages || force || !dataset.is_staged) return { would: 'start' };
  ground.onWait(`comparing the staged copy of dataset ${dataset.id} with what was archived`);
  const [difference] = await differencesOf(config, store, dataset);
  return difference === undefined
    ? { would: 'nothing', because: `it is staged already, and intact: ${dataset.staged_path}` }
    : { would: 'start' };
}

/** As the engine decides whether a second workflow may be started. */
export async function liveWorkflowOf(
  { records }: Store,
  dataset_id: number,
): Promise<WorkflowDocument | null> {
  const { results } = await records.listWorkflows({ dataset_id, limit: 1000 });
  const live = results.find(
    ({ workflow: { _status, resume_lock } }) =>
      _status === 'PENDING' || _status === 'STARTED' || resume_lock !== null,
  );
  return live?.workflow ?? null;
}

function spaceStops(config: Config, steps: readonly PlannedStep[]): Stop[] {
  const needs: Need[] = [];
  for (const { step, needs: more } of steps) {
    needs.push(...more);
    const short = roomsFor(config, needs).find(isShort);
    if (short === undefined) continue;
    const message = `${short.folders.join(', ')}: ${humanBytes(short.need)} are needed, ${humanBytes(Math.max(0, short.available))} are available`;
    return [stopOf(step, new LongshoreError('E_NO_SPACE', message))];
  }
  return [];
}

export function totalsOf(steps: readonly PlannedStep[]): Totals {
  const sum = (kind: 'reads' | 'writes' | 'removes'): number =>
    steps.flatMap((step) => step[kind]).reduce((total, { bytes }) => total + (bytes ?? 0), 0);
  const known = steps.every(({ expected }) => expected !== null);
  const seconds = steps.reduce((total, { expected }) => total + (expected?.seconds ?? 0), 0);
  return {
    read: sum('reads'),
    written: sum('writes'),
    removed: sum('removes'),
    seconds: known ? seconds : null,
  };
}

const stopOf = (step: string | null, { code, message, hint }: LongshoreError): Stop => ({
  step,
  code,
  message,
  hint,
});

const deleted = ({ id, name }: Dataset): LongshoreError =>
  new LongshoreError('E_DATASET_DELETED', `dataset ${id} (${name}) was deleted`);

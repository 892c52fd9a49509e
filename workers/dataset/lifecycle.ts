/** What every task asks and says about the dataset it works on. */
import type { Catalog, DatasetPatch } from '../catalog/contract.ts';
import { LongshoreError } from '../errors.ts';
import type { Dataset, DatasetStateName } from './types.ts';

/** Of a dataset that lies in no archive any more: where it lay, and what its archiving has noted of that. */
export const NOT_ARCHIVED: DatasetPatch = {
  archive_path: null,
  metadata: { archive_target: null, archive_begun: null },
};

/** @throws E_DATASET_NOT_FOUND, E_DATASET_DELETED */
export async function liveDataset(catalog: Catalog, id: number): Promise<Dataset> {
  // What a workflow is started with may come from anywhere.
  if (!Number.isSafeInteger(id))
    throw new LongshoreError('E_DATASET_NOT_FOUND', 'this workflow was started for no dataset', {
      hint: 'Start it for one: `longshore start <workflow> <dataset>`, or with args that begin with the id of a dataset.',
    });
  const dataset = await catalog.get(id, { bundle: true, states: true });
  if (!dataset.is_deleted) return dataset;
  throw new LongshoreError('E_DATASET_DELETED', `dataset ${id} (${dataset.name}) was deleted`, {
    fields: { dataset_id: id, name: dataset.name },
  });
}

/**
 * Adds a state once per workflow: a step that was killed after this and before its end runs again, and must not say
 * the same thing twice. Another workflow that brings the dataset there again does add it.
 */
export async function reachState(
  catalog: Catalog,
  id: number,
  state: DatasetStateName,
  workflow_id: string,
  metadata: Record<string, unknown> = {},
): Promise<void> {
  const [last] = await catalog.states(id);
  if (last?.state === state && last.metadata.workflow_id === workflow_id) return;
  await catalog.addState(id, state, { ...metadata, workflow_id });
}

import type { Config } from '../../config/index.ts';
import { removeStagedCopy, stagedCopyOf } from '../../workers/content/staged-copy.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';

export interface PurgeRow {
  dataset_id: number;
  name: string;
  type: string;
  staged_at: string | null;
  size: number | null;
  outcome: 'purged' | 'would purge' | 'refused' | 'failed';
  note: string;
}

/** Datasets whose staged copy has outlived `days_to_live`, the one that was staged longest ago first. */
export async function candidatesOf(
  store: Store,
  days_to_live: number,
): Promise<{ dataset: Dataset; staged_at: string | null }[]> {
  const { datasets } = await store.catalog.list({ days_since_last_staged: days_to_live });
  const found = await Promise.all(
    datasets.map(async (dataset) => {
      const states = await store.catalog.states(dataset.id);
      return { dataset, staged_at: states.find(({ state }) => state === 'STAGED')?.timestamp ?? null };
    }),
  );
  // Never staged as far as the states tell: before all others.
  return found.toSorted((a, b) => (a.staged_at ?? '').localeCompare(b.staged_at ?? ''));
}

/** Removes the staged copy of a dataset and every way to it; the record last, so that a run that is killed is repeated. */
export async function purge(
  parts: { config: Config; store: Store; actor: string; dry_run: boolean },
  { dataset, staged_at }: { dataset: Dataset; staged_at: string | null },
): Promise<PurgeRow> {
  const { id, name, type, size } = dataset;
  const row = { dataset_id: id, name, type, staged_at, size, note: '' };
  try {
    const copy = stagedCopyOf(parts.config, dataset);
    const [path = ''] = copy.trees;
    await refuseIfNeeded(parts.store, dataset);
    if (parts.dry_run) return { ...row, outcome: 'would purge', note: path };
    await removeStagedCopy(copy);
    await parts.store.catalog.patch(id, { is_staged: false, staged_path: null });
    await parts.store.catalog.addState(id, 'PURGED', { by: 'purge_staged_datasets' });
    const details = { name, path, staged_at };
    await parts.store.records.audit({
      actor: parts.actor,
      action: 'dataset.purge',
      subject: `dataset:${id}`,
      details,
    });
    return { ...row, outcome: 'purged', note: path };
  } catch (error) {
    const { code, message } = coerceError(error);
    const refused = code === 'E_NAME_UNSAFE' || code === 'E_NOT_ARCHIVED' || code === 'E_WORKFLOW_STATE';
    return { ...row, outcome: refused ? 'refused' : 'failed', note: `${code}: ${message}` };
  }
}

/** @throws E_NOT_ARCHIVED, E_WORKFLOW_STATE */
async function refuseIfNeeded({ records }: Store, dataset: Dataset): Promise<void> {
  if (dataset.archive_path === null) {
    throw new LongshoreError(
      'E_NOT_ARCHIVED',
      `dataset ${dataset.id} has no archived copy; the staged one may be the last`,
    );
  }
  const { results } = await records.listWorkflows({ dataset_id: dataset.id, status: 'ACTIVE' });
  const [working] = results;
  if (working === undefined) return;
  const { id, name } = working.workflow;
  throw new LongshoreError('E_WORKFLOW_STATE', `workflow ${id} (${name}) works on dataset ${dataset.id}`);
}

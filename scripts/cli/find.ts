import type { Dataset } from '../../workers/dataset/types.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';

/** `17`, a dataset's name, or the id of a workflow. */
export type Found =
  | { readonly kind: 'dataset'; readonly dataset: Dataset }
  | { readonly kind: 'workflow'; readonly id: string };

const WORKFLOW_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const INCLUDE = { bundle: true, states: true, workflows: true };

/** @throws E_WORKFLOW_NOT_FOUND, E_DATASET_NOT_FOUND, E_USAGE when a name stands for several */
export async function find(store: Store, text: string): Promise<Found> {
  if (WORKFLOW_ID.test(text)) {
    const id = text.toLowerCase();
    if ((await store.records.workflow(id)) !== null) return { kind: 'workflow', id };
    throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${id}`, { fields: { id } });
  }
  return { kind: 'dataset', dataset: await findDataset(store, text) };
}

/** By id or by its exact name. @throws E_DATASET_NOT_FOUND, E_USAGE when several types have one of that name */
export async function findDataset({ catalog }: Store, text: string): Promise<Dataset> {
  if (/^[0-9]{1,15}$/.test(text)) return catalog.get(Number(text), INCLUDE);
  const { datasets } = await catalog.list({ name: text, match_name_exact: true });
  const named = datasets.filter(({ name }) => name === text);
  const [only, other] = named;
  if (only === undefined)
    throw new LongshoreError('E_DATASET_NOT_FOUND', `there is no dataset "${text}"`, {
      fields: { name: text },
    });
  if (other !== undefined) {
    const which = named.map(({ id, type }) => `${id} (${type})`).join(', ');
    throw new LongshoreError('E_USAGE', `"${text}" names several datasets: ${which}; give the id`);
  }
  return catalog.get(only.id, INCLUDE);
}

/** The workflow that an id of either kind means: of a dataset, the one that is at work, else the newest. */
export async function findWorkflow(store: Store, text: string): Promise<string> {
  const found = await find(store, text);
  if (found.kind === 'workflow') return found.id;
  const dataset_id = found.dataset.id;
  const { records } = store;
  const [active] = (await records.listWorkflows({ dataset_id, status: 'ACTIVE', limit: 1 })).results;
  const [newest] = (await records.listWorkflows({ dataset_id, limit: 1 })).results;
  const id = (active ?? newest)?.workflow.id;
  if (id !== undefined) return id;
  throw new LongshoreError(
    'E_WORKFLOW_NOT_FOUND',
    `dataset ${dataset_id} (${found.dataset.name}) has no workflow`,
    {
      fields: { dataset_id },
    },
  );
}

/** Names of the datasets of a page, for its table. */
export async function namesOf(
  { catalog }: Store,
  ids: readonly (number | null)[],
): Promise<Map<number, string>> {
  const names = new Map<number, string>();
  for (const id of new Set(ids))
    if (id !== null)
      names.set(
        id,
        await catalog.get(id).then(
          (dataset) => dataset.name,
          () => '(gone)',
        ),
      );
  return names;
}

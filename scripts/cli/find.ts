import { normaliseName } from '../../workers/dataset/name.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';
import { checkAll } from './mistakes.ts';

/** `17`, `id:17`, a dataset's name, `name:17`, or the id of a workflow, or the beginning of one. */
export type Found =
  | { readonly kind: 'dataset'; readonly dataset: Dataset }
  | { readonly kind: 'workflow'; readonly id: string };

const WORKFLOW_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** So many characters of a workflow's id are printed where there is no room for all, and at least needed to find it. */
export const SHORT_ID = 8;
const SHORT_WORKFLOW_ID = /^[0-9a-f]{8}[0-9a-f-]{0,27}$/i;
const INCLUDE = { bundle: true, states: true, workflows: true };

/** @throws E_WORKFLOW_NOT_FOUND, E_DATASET_NOT_FOUND, E_USAGE when a name stands for several */
export async function find(store: Store, text: string): Promise<Found> {
  if (WORKFLOW_ID.test(text)) {
    const id = text.toLowerCase();
    if ((await store.records.workflow(id)) !== null) return { kind: 'workflow', id };
    throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow ${id}`, { fields: { id } });
  }
  try {
    return { kind: 'dataset', dataset: await findDataset(store, text) };
  } catch (error) {
    const unknown = isLongshoreError(error) && error.code === 'E_DATASET_NOT_FOUND';
    const id = unknown && SHORT_WORKFLOW_ID.test(text) ? await wholeId(store, text.toLowerCase()) : null;
    if (id === null) throw error;
    return { kind: 'workflow', id };
  }
}

/** Null where no workflow begins so. @throws E_USAGE when several do */
async function wholeId({ records }: Store, id_prefix: string): Promise<string | null> {
  const { total, results } = await records.listWorkflows({ id_prefix, limit: 5 });
  if (total <= 1) return results[0]?.workflow.id ?? null;
  const which = results.map(({ workflow }) => workflow.id).join(', ');
  const more = total > results.length ? `, and ${total - results.length} more` : '';
  throw new LongshoreError('E_USAGE', `"${id_prefix}" begins several workflows: ${which}${more}`);
}

const NUMBER = /^[0-9]{1,15}$/;

/**
 * By id or by its exact name. `id:3` and `name:3` say which of the two is meant; no name holds a colon.
 *
 * @throws E_DATASET_NOT_FOUND, E_USAGE when the text means several: datasets of different types, or the id of one and
 * the name of another
 */
export async function findDataset(store: Store, text: string): Promise<Dataset> {
  const [, kind, what = text] = /^(id|name):(.*)$/s.exec(text) ?? [];
  if (kind === 'id' && NUMBER.test(what)) return store.catalog.get(Number(what), INCLUDE);
  const numbered = kind !== 'name' && NUMBER.test(what) ? await byId(store, Number(what)) : null;
  const named = await byName(store, what).catch((error: unknown) => {
    throw numbered === null ? error : unlessById(error, numbered);
  });
  const [only, other] = [numbered, ...named.filter(({ id }) => id !== numbered?.id)].filter(
    (one) => one !== null,
  );
  if (only === undefined) throw await notFound(store, what);
  if (other === undefined) return numbered ?? store.catalog.get(only.id, INCLUDE);
  throw ambiguous(what, numbered, named);
}

/** What was typed may be the name of the folder, which holds what a recorded name does not. */
async function notFound(store: Store, name: string): Promise<LongshoreError> {
  const recorded = normaliseName(name);
  const known = recorded !== name && (await byName(store, recorded)).length > 0;
  return new LongshoreError('E_DATASET_NOT_FOUND', `there is no dataset "${name}"`, {
    fields: { name },
    ...(known ? { hint: `A folder of this name is recorded as ${recorded}.` } : {}),
  });
}

/** As {@link findDataset}; of several that cannot be found all are told. */
export const findDatasets = (store: Store, texts: readonly string[]): Promise<Dataset[]> =>
  checkAll(texts.map((text) => () => findDataset(store, text)));

/** Null: there is none. */
const byId = ({ catalog }: Store, id: number): Promise<Dataset | null> =>
  catalog.get(id, INCLUDE).catch((error: unknown) => {
    if (isLongshoreError(error) && error.code === 'E_DATASET_NOT_FOUND') return null;
    throw error;
  });

async function byName({ catalog }: Store, text: string): Promise<Dataset[]> {
  const { datasets } = await catalog.list({ name: text, match_name_exact: true });
  return datasets.filter(({ name }) => name === text);
}

/** A catalog behind an API that is away finds by its id what it knows, and nothing by name. */
function unlessById(error: unknown, { id }: Dataset): unknown {
  if (!isLongshoreError(error) || error.code !== 'E_API_UNAVAILABLE') return error;
  return new LongshoreError(error.code, error.message, {
    fields: error.fields,
    cause: error,
    hint: `Whether ${id} is a name too cannot be asked while the API is away: say id:${id}.`,
  });
}

function ambiguous(text: string, numbered: Dataset | null, named: readonly Dataset[]): LongshoreError {
  const which = named.map(({ id, type }) => `${id} (${type})`).join(', ');
  if (numbered === null)
    return new LongshoreError('E_USAGE', `"${text}" names several datasets: ${which}; give the id`);
  return new LongshoreError(
    'E_USAGE',
    `"${text}" is the id of dataset ${numbered.id} (${numbered.name}) and the name of dataset ${which}`,
    { hint: `Say id:${text} or name:${text}.` },
  );
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
          ({ name, is_deleted }) => (is_deleted ? `${name} (deleted)` : name),
          () => '(gone)',
        ),
      );
  return names;
}

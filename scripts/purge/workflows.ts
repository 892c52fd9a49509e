/** Which recorded workflows nobody names any more, and their removal. */
import type { Catalog } from '../../workers/catalog/contract.ts';
import { coerceError, isLongshoreError, LongshoreError } from '../../workers/errors.ts';
import type { OldPlace, OldWorkflow, Records } from '../../workers/records/contract.ts';
import type { Store } from '../../workers/store.ts';
import type { Engine } from '../../workers/workflows/engine.ts';

export interface StaleQuery {
  readonly app_id: string;
  readonly types: readonly string[];
  /** ISO 8601. */
  readonly created_before: string;
  readonly max: number;
}

export type StaleWorkflow = Omit<OldWorkflow, 'resume_lock'>;

export interface Stale {
  /** The oldest first, at most `max`. */
  readonly chosen: readonly StaleWorkflow[];
  /** Stale too, for later runs. */
  readonly left: number;
  /** Nobody names them either, but they are at work. */
  readonly running: readonly StaleWorkflow[];
}

const PAGE = 200;

/** @throws E_CATALOG_UNAVAILABLE when the catalog names nothing at all: then every workflow would look stale */
export async function findStale({ records, catalog }: Store, query: StaleQuery): Promise<Stale> {
  const isNamed = await openNames(catalog);
  const chosen: StaleWorkflow[] = [];
  const running: StaleWorkflow[] = [];
  let left = 0;
  for await (const workflow of oldOnes(records, query)) {
    if (await isNamed(workflow)) continue;
    const { resume_lock, ...row } = workflow;
    if (row.status === 'STARTED' || resume_lock !== null) running.push(row);
    else if (chosen.length < query.max) chosen.push(row);
    else left += 1;
  }
  return { chosen, left, running };
}

async function* oldOnes(
  records: Records,
  { app_id, types: names, created_before }: StaleQuery,
): AsyncGenerator<OldWorkflow> {
  for (let after: OldPlace | undefined; ; ) {
    const page = await records.oldWorkflows(
      { app_id, names, created_before },
      { ...(after === undefined ? {} : { after }), limit: PAGE },
    );
    yield* page;
    after = page.at(-1);
    if (page.length < PAGE) return;
  }
}

type IsNamed = (workflow: OldWorkflow) => Promise<boolean>;

async function openNames(catalog: Catalog): Promise<IsNamed> {
  if (catalog.namedWorkflows !== undefined) {
    const ids = new Set(await catalog.namedWorkflows());
    if (ids.size === 0) throw namesNothing('its list of workflows is empty');
    return async ({ id }) => ids.has(id);
  }
  const found = [await catalog.list({ limit: 1 }), await catalog.list({ deleted: true, limit: 1 })];
  if (found.every(({ count }) => count === 0)) throw namesNothing('it has no dataset');
  return (workflow) => namedByDataset(catalog, workflow);
}

const namesNothing = (why: string): LongshoreError =>
  new LongshoreError(
    'E_CATALOG_UNAVAILABLE',
    `the catalog names no workflow at all (${why}); nothing was purged`,
    {
      class: 'operator',
      hint: 'Every workflow would look stale. Check that this is the right catalog, and that it is whole.',
    },
  );

async function namedByDataset(catalog: Catalog, { id, dataset_id }: OldWorkflow): Promise<boolean> {
  if (dataset_id === null) return false;
  try {
    const { workflows = [] } = await catalog.get(dataset_id, { workflows: true });
    return workflows.some((one) => one.id === id);
  } catch (error) {
    if (isLongshoreError(error) && error.code === 'E_DATASET_NOT_FOUND') return false;
    throw error;
  }
}

export interface PurgedWorkflow extends StaleWorkflow {
  outcome: 'purged' | 'would purge' | 'kept' | 'failed';
  note: string;
}

/** Never throws: the next one may go all the same. */
export async function purgeWorkflow(
  engine: Engine,
  workflow: StaleWorkflow,
  actor: string,
): Promise<PurgedWorkflow> {
  try {
    const { deleted_count } = await engine.delete(workflow.id, { actor, unless_running: true });
    if (deleted_count === 1) return { ...workflow, outcome: 'purged', note: '' };
    return { ...workflow, outcome: 'kept', note: 'it was begun or removed meanwhile' };
  } catch (error) {
    const { code, message } = coerceError(error);
    return { ...workflow, outcome: 'failed', note: `${code}: ${message}` };
  }
}

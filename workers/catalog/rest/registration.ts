/**
 * Registration behind the API, which knows no transaction over a dataset and its workflow. The order is:
 *
 * | step                                                              | what a crash after it leaves       | who repairs it             |
 * | ----------------------------------------------------------------- | ---------------------------------- | -------------------------- |
 * | 1. POST datasets/bulk (or datasets, which keeps a project)         | a dataset without workflow          | the next scan: it conflicts, has none, gets one |
 * | (a path that the API has trimmed is put right, origin.ts)         | the same, and a path that is wrong  | the same, by the same hand |
 * | 2. workflow, audit and the companion's dataset, in one transaction | a workflow that the API does not know | the same: it links what it finds here |
 * | 3. the link waits in the spool                                    | nothing                            | whoever delivers the spool |
 * | 4. the caller puts the workflow into the queue                    | a workflow that is not queued       | the workers' reconciliation |
 *
 * Whether there is a workflow is decided in step 2, under the lock of one database, so that there are never two.
 */
import type { BioloopApi } from '../../bioloop/endpoints.ts';
import type { ApiDataset, BulkAnswer } from '../../bioloop/schemas.ts';
import { normaliseName } from '../../dataset/name.ts';
import type { Dataset } from '../../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import { wellFormed } from '../../sqlite/values.ts';
import type { Catalog, NewDataset, RegisterOutcome, Registration } from '../contract.ts';
import { type Known, laneOf, notFound, type RestParts } from './datasets.ts';
import { isLeftTrimmed, withOrigin } from './origin.ts';
import { toldDataset } from './values.ts';

/** The most that the bulk endpoint takes. */
const BATCH = 100;
/** Links that are told at the same time. */
const AT_ONCE = 10;
/** A scan comes again; it does not wait ten minutes in its place. */
const SHORT = { retries: 2 };
/** After this, what a crash left of a registration has been found by a scan. */
const SETTLED_MS = 24 * 3_600_000;

interface Item {
  readonly at: number;
  readonly name: string;
  readonly given: Registration;
}

export function registrationBehind(
  parts: RestParts,
  known: Known,
): Pick<Catalog, 'register' | 'requireProject' | 'attachWorkflow'> {
  const { api, companion, delivery } = parts;

  const link = async (dataset_id: number, workflow_id: string): Promise<void> => {
    await delivery.send({ lane: laneOf(dataset_id), kind: 'link', body: { id: dataset_id, workflow_id } });
  };

  async function arrived(item: Item, answer: ApiDataset, actor: string): Promise<RegisterOutcome> {
    const told = await withOrigin(api, answer, item.given.dataset.origin_path);
    const workflow = item.given.workflow?.(told.id) ?? null;
    const project_id = item.given.dataset.project_id ?? null;
    const states = told.states ?? [{ state: 'REGISTERED', timestamp: told.created_at, metadata: {} }];
    await companion.mirror.adopt(toldDataset({ ...told, states }), { actor, project_id, workflow });
    if (workflow !== null) await link(told.id, workflow.id);
    return {
      outcome: 'created',
      dataset: await companion.catalog.get(told.id, { bundle: true, states: true, workflows: true }),
      workflow_id: workflow?.id ?? null,
    };
  }

  /** A full scan brings all folders again: the API is not asked about each that has had its workflow for long. */
  async function longKnown(item: Item): Promise<Dataset | null> {
    const { type, origin_path } = item.given.dataset;
    const id = await companion.mirror.idOf(item.name, type);
    if (id === null) return null;
    const dataset = await companion.catalog.get(id, { bundle: true, states: true, workflows: true });
    if (dataset.origin_path !== origin_path || Date.now() - Date.parse(dataset.created_at) < SETTLED_MS)
      return null;
    return (dataset.workflows ?? []).length > 0 ? dataset : null;
  }

  /** Of the one that has the name: workflows that a crash left unlinked are linked now. */
  async function conflicting(item: Item): Promise<RegisterOutcome> {
    const here = await longKnown(item);
    if (here !== null) return { outcome: 'conflicted', dataset: here };
    const { type } = item.given.dataset;
    const { datasets } = await api.listDatasets({ name: item.name, type, match_name_exact: true }, SHORT);
    const holder = datasets.find((one) => one.name === item.name);
    // Renamed or deleted in the meantime: the next scan finds the name free.
    if (holder === undefined)
      return errored(
        item,
        new LongshoreError('E_API_CONFLICT', `the name "${item.name}" of type ${type} was taken`),
      );
    const found = await api.getDataset(holder.id, { bundle: true }, SHORT);
    const { origin_path } = item.given.dataset;
    const told = isLeftTrimmed(found, origin_path) ? await withOrigin(api, found, origin_path) : found;
    await companion.mirror.adopt(toldDataset(told));
    const dataset = await known.compose(holder.id, told);
    const linked = new Set(told.workflows?.map(({ id }) => id));
    for (const { id } of dataset.workflows ?? []) if (!linked.has(id)) await link(holder.id, id);
    return { outcome: 'conflicted', dataset };
  }

  async function createAll(items: readonly Item[], actor: string): Promise<[Item, RegisterOutcome][]> {
    let answer: BulkAnswer;
    try {
      answer = await api.createDatasets(
        items.map(({ name, given }) => sentOf(name, given.dataset)),
        SHORT,
      );
    } catch (error) {
      if (!isLongshoreError(error) || error.code !== 'E_API_REQUEST') throw error;
      const [first] = items;
      if (items.length === 1 && first !== undefined) return [[first, errored(first, error)]];
      // One that it finds invalid (a type that it does not know) has it refuse all of them.
      const half = Math.ceil(items.length / 2);
      return [
        ...(await createAll(items.slice(0, half), actor)),
        ...(await createAll(items.slice(half), actor)),
      ];
    }
    const created = new Map(answer.created.map((told) => [keyOf(told.name, told.type), told]));
    const broken = new Set(answer.errored.map(({ name, type }) => keyOf(name, type)));
    const settle = (item: Item): (() => Promise<RegisterOutcome> | RegisterOutcome) => {
      const key = keyOf(item.name, item.given.dataset.type);
      const told = created.get(key);
      created.delete(key); // A second item of the same name conflicts with it.
      if (told !== undefined) return () => arrived(item, told, actor);
      if (!broken.has(key)) return () => conflicting(item);
      return () =>
        errored(item, new LongshoreError('E_API_FAILED', `the API could not register "${item.name}"`));
    };
    const work = items.map((item): [Item, ReturnType<typeof settle>] => [item, settle(item)]);
    const outcomes: [Item, RegisterOutcome][] = [];
    for (let at = 0; at < work.length; at += AT_ONCE)
      outcomes.push(
        ...(await Promise.all(
          work
            .slice(at, at + AT_ONCE)
            .map(async ([item, one]): Promise<[Item, RegisterOutcome]> => [item, await attempt(item, one)]),
        )),
      );
    return outcomes;
  }

  /** The bulk endpoint would drop the project. */
  async function createOne(item: Item, actor: string): Promise<RegisterOutcome> {
    try {
      return await arrived(
        item,
        await api.createDataset(sentOf(item.name, item.given.dataset), SHORT),
        actor,
      );
    } catch (error) {
      if (isLongshoreError(error) && error.code === 'E_API_CONFLICT') return await conflicting(item);
      throw error;
    }
  }

  return {
    requireProject: (id) => requireProject(api, id),
    register: async (given, actor) => {
      const outcomes: RegisterOutcome[] = [];
      const items: Item[] = [];
      for (const [at, one] of given.entries()) {
        const item = { at, name: normaliseName(one.dataset.name), given: one };
        const problem = problemOf(item);
        if (problem === null) items.push(item);
        else outcomes[at] = errored(item, problem);
      }
      const single = items.filter((item) => item.given.dataset.project_id !== undefined);
      const many = items.filter((item) => item.given.dataset.project_id === undefined);
      const projects = new Map<string, Promise<void>>();
      for (const item of single) {
        const project = item.given.dataset.project_id ?? '';
        if (!projects.has(project)) projects.set(project, requireProject(api, project));
        outcomes[item.at] = await attempt(item, async () => {
          await projects.get(project);
          return createOne(item, actor);
        });
      }
      for (let at = 0; at < many.length; at += BATCH)
        for (const [item, outcome] of await createAll(many.slice(at, at + BATCH), actor))
          outcomes[item.at] = outcome;
      return outcomes;
    },

    attachWorkflow: async (dataset_id, workflow) => {
      const told = await api.getDataset(dataset_id, { bundle: true }, SHORT).catch((error: unknown) => {
        throw isLongshoreError(error) && error.code === 'E_API_NOT_FOUND'
          ? notFound(dataset_id, error)
          : error;
      });
      await companion.mirror.adopt(toldDataset(told));
      if (await hasElsewhere(api, await known.compose(dataset_id, null), told, workflow.name)) return false;
      const attached = await companion.catalog.attachWorkflow(dataset_id, workflow);
      if (attached) await link(dataset_id, workflow.id);
      return attached;
    },
  };
}

/**
 * A workflow of that name that was started by others. The names of those that are linked come from the workflow server;
 * while it is away this fails, rather than start a second one.
 */
async function hasElsewhere(
  api: BioloopApi,
  here: Dataset,
  told: ApiDataset,
  name: string | null,
): Promise<boolean> {
  const own = new Set(here.workflows?.map(({ id }) => id));
  const others = (told.workflows ?? []).filter(({ id }) => !own.has(id));
  if (others.length === 0) return false;
  const { results } = await api.listWorkflows({ dataset_id: here.id }, SHORT);
  return results.some((one) => !own.has(one.id) && one.name === name);
}

/**
 * The API commits a dataset before it looks at its project, and answers then as if the name were taken.
 *
 * @throws E_PROJECT_NOT_FOUND
 */
async function requireProject(api: BioloopApi, id: string): Promise<void> {
  const found = await api.getProject(id, { include_datasets: false }, SHORT).catch((error: unknown) => {
    // 400: it is no id at all.
    if (isLongshoreError(error) && ['E_API_NOT_FOUND', 'E_API_REQUEST'].includes(error.code)) return null;
    throw error;
  });
  if (found?.id === id) return;
  throw new LongshoreError('E_PROJECT_NOT_FOUND', `there is no project "${id}"`, {
    fields: { project_id: id },
  });
}

/** An item that cannot be recorded is answered, not thrown; an API that is away is everybody's. */
async function attempt(
  item: Item,
  work: () => Promise<RegisterOutcome> | RegisterOutcome,
): Promise<RegisterOutcome> {
  try {
    return await work();
  } catch (error) {
    return errored(item, error);
  }
}

const errored = ({ name, given }: Item, error: unknown): RegisterOutcome => ({
  outcome: 'errored',
  name,
  type: given.dataset.type,
  error,
});

/** What would fail after the API has the dataset. */
function problemOf({ name, given }: Item): unknown {
  if (/^-?$/.test(name))
    return new LongshoreError(
      'E_NAME_UNSAFE',
      `the name ${JSON.stringify(given.dataset.name)} has no letter or digit; expected at least one of A-Z a-z 0-9 _`,
      { fields: { name: given.dataset.name } },
    );
  try {
    wellFormed('origin path', given.dataset.origin_path);
    given.workflow?.(0);
    return null;
  } catch (error) {
    return error;
  }
}

const keyOf = (name: string, type: string): string => `${type} ${name}`;

const sentOf = (name: string, dataset: NewDataset) => {
  const { type, origin_path, create_method, description, project_id, metadata } = dataset;
  return {
    name,
    type,
    origin_path,
    create_method,
    ...(description === undefined ? {} : { description }),
    ...(project_id === undefined ? {} : { project_id }),
    ...(metadata === undefined ? {} : { metadata }),
  };
};

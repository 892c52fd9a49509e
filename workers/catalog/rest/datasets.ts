/** Reading, listing and changing datasets behind the API, and going on while it is away. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { ApiDatasetPatch, CallOptions } from '../../bioloop/dataset-requests.ts';
import type { BioloopApi } from '../../bioloop/endpoints.ts';
import type { ApiDataset } from '../../bioloop/schemas.ts';
import type { Dataset } from '../../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import type { Catalog, DatasetPatch } from '../contract.ts';
import type { Companion } from '../mirror.ts';
import { type Delivery, isAway } from './delivery.ts';
import { hasStructure, listsInTheWay } from './metadata.ts';
import type { SpoolEntry } from './spool.ts';
import { patchSent, toldDataset } from './values.ts';

export interface RestParts {
  readonly api: BioloopApi;
  readonly companion: Companion;
  readonly delivery: Delivery;
}

export const laneOf = (id: number): string => `dataset:${id}`;

/** One try, and one more at once: a connection that was kept too long, a server that restarts. Then the spool has it. */
export const SHORT: CallOptions = { retries: 1 };
/** Half a minute: somebody may be looking at a terminal. */
const PATIENT: CallOptions = { retries: 3 };
/** It did not answer a moment ago: somebody at a terminal is told so at once. */
const ONCE: CallOptions = { retries: 0 };
const ALL = { bundle: true, states: true, workflows: true };

export interface Known {
  /** With everything. @throws E_DATASET_NOT_FOUND, E_API_UNAVAILABLE the API is away, and the companion never saw it */
  refresh(id: number): Promise<Dataset>;
  /** What the companion has, with the workflows that only the API knows. */
  compose(id: number, fresh: ApiDataset | null): Promise<Dataset>;
  /** The companion has it. */
  ensure(id: number): Promise<void>;
}

export function knownDatasets({ api, companion, delivery }: RestParts): Known {
  const { catalog, mirror } = companion;

  async function ask(id: number, options: CallOptions): Promise<ApiDataset> {
    try {
      return await noted(delivery, api.getDataset(id, { bundle: true }, options));
    } catch (error) {
      if (isLongshoreError(error) && error.code === 'E_API_NOT_FOUND') throw notFound(id, error);
      throw error;
    }
  }

  /** Null: the API is away, or has not been told everything yet, so that the companion knows better. */
  async function newest(id: number): Promise<ApiDataset | null> {
    const here = await mirror.has(id);
    if (!(await delivery.flush(laneOf(id))) && here) return null;
    try {
      if (here && (await delivery.isDown())) return null;
      const told = await ask(id, here ? SHORT : {});
      // Something was changed while it was asked, and could not be told: what it said is old.
      if (here && (await delivery.waits(laneOf(id)))) return null;
      await mirror.adopt(toldDataset(told));
      return told;
    } catch (error) {
      if (here && isLongshoreError(error) && (isAway(error) || error.code === 'E_API_FAILED')) return null;
      throw error;
    }
  }

  const compose = async (id: number, fresh: ApiDataset | null): Promise<Dataset> => {
    const dataset = await catalog.get(id, ALL);
    const own = dataset.workflows ?? [];
    const others = (fresh?.workflows ?? []).filter((one) => !own.some((workflow) => workflow.id === one.id));
    return { ...dataset, workflows: [...others.map((one) => ({ id: one.id })), ...own] };
  };

  return {
    compose,
    refresh: async (id) => await compose(id, await newest(id)),
    ensure: async (id) => {
      if (await mirror.has(id)) return;
      await mirror.adopt(toldDataset(await ask(id, {})));
    },
  };
}

/** Whether there was an answer is of use to all processes of the host. */
async function noted<T>(delivery: Delivery, answer: Promise<T>): Promise<T> {
  try {
    const told = await answer;
    await delivery.noteHealth(null);
    return told;
  } catch (error) {
    if (isLongshoreError(error) && isAway(error)) await delivery.noteHealth(error);
    throw error;
  }
}

export function datasetsBehind(
  parts: RestParts,
  known: Known,
  busyLanes: (lanes: readonly string[]) => Promise<Set<string>>,
): Pick<Catalog, 'get' | 'list' | 'patch' | 'addState' | 'states' | 'putReport' | 'report'> {
  const { api, companion, delivery } = parts;
  const { catalog, mirror } = companion;

  const get: Catalog['get'] = async (id, include = {}) => {
    const { bundle, states, workflows, ...dataset } = await known.refresh(id);
    return {
      ...dataset,
      ...(include.bundle === true && bundle !== undefined ? { bundle } : {}),
      ...(include.states === true && states !== undefined ? { states } : {}),
      ...(include.workflows === true && workflows !== undefined ? { workflows } : {}),
    };
  };

  return {
    get,

    /** Needs an answer: a list from here would leave out what this installation has never seen. */
    list: async ({ staged, origin_path, limit, offset = 0, ...asked }) => {
      // The API does not filter by these two; everything is looked through then.
      const filtered = staged !== undefined || origin_path !== undefined;
      const page = filtered || limit === undefined ? {} : { limit, offset };
      const patience = (await delivery.isDown()) ? ONCE : PATIENT;
      const { metadata, datasets } = await noted(
        delivery,
        api.listDatasets({ ...asked, ...page, bundle: true }, patience),
      );
      const seen = (await asSeen(datasets)).filter(
        (one) =>
          (staged === undefined || one.is_staged === staged) &&
          (origin_path === undefined || one.origin_path === origin_path),
      );
      if (limit !== undefined && !filtered) return { count: metadata.count, datasets: seen };
      return { count: seen.length, datasets: seen.slice(offset, offset + (limit ?? seen.length)) };
    },

    patch: async (id, patch) => {
      await known.ensure(id);
      const { sent, kept } = patchSent(patch, (await catalog.get(id)).metadata);
      const done = await delivery
        .send({ lane: laneOf(id), kind: 'patch', body: { id, patch: sent } })
        .catch(async (error: unknown) => {
          throw await refusedPatch(id, patch, error);
        });
      if (done === null) {
        await catalog.patch(id, kept);
        return await known.compose(id, null);
      }
      // What the API has no place for: the bundle's digests, its proof.
      if (patch.bundle !== undefined) await catalog.patch(id, { bundle: patch.bundle });
      const told = done.answer as ApiDataset;
      await mirror.adopt(toldDataset(told));
      return await known.compose(id, told);
    },

    addState: async (id, state, metadata = {}) => {
      await known.ensure(id);
      await delivery
        .send({ lane: laneOf(id), kind: 'state', body: { id, state, metadata } })
        .catch((error: unknown) => {
          // A state of a dataset that is not there breaks a rule of the database (409).
          const gone = isLongshoreError(error) && ['E_API_NOT_FOUND', 'E_API_CONFLICT'].includes(error.code);
          throw gone ? notFound(id, error) : error;
        });
      await catalog.addState(id, state, metadata);
    },

    states: async (id) => (await known.refresh(id)).states ?? [],

    putReport: async (id, report) => {
      await known.ensure(id);
      const kept = await catalog.putReport(id, report);
      await delivery.send({ lane: laneOf(id), kind: 'report', body: { id, path: report.path } });
      return kept;
    },
    report: async (id) => {
      await known.ensure(id);
      return await catalog.report(id);
    },
  };

  /** With what only the companion knows; of what the API has yet to be told the companion knows better. */
  async function asSeen(told: readonly ApiDataset[]): Promise<Dataset[]> {
    const extras = await mirror.extras(told.map(({ id }) => id));
    const busy = await busyLanes(told.map(({ id }) => laneOf(id)));
    return await Promise.all(
      told.map(async (one): Promise<Dataset> => {
        if (busy.has(laneOf(one.id)) && extras.has(one.id))
          return await catalog.get(one.id, { bundle: true });
        const { bundle, states: _, ...dataset } = toldDataset(one);
        const { project_id = null, bundle: own = null } = extras.get(one.id) ?? {};
        const same = bundle === undefined || (own?.md5 === bundle.md5 && own.size === bundle.size);
        const digests: Record<string, string> =
          bundle === undefined || bundle.md5 === null ? {} : { md5: bundle.md5 };
        return {
          ...dataset,
          project_id,
          bundle: same ? own : { ...bundle, digests, verified_at: null },
        };
      }),
    );
  }

  async function refusedPatch(id: number, patch: DatasetPatch, error: unknown): Promise<unknown> {
    if (!isLongshoreError(error)) return error;
    if (error.code === 'E_API_NOT_FOUND') return notFound(id, error);
    if (error.code !== 'E_API_CONFLICT') return error;
    const dataset = await catalog.get(id);
    const name = patch.name ?? dataset.name;
    const { datasets } = await api.listDatasets({ name, type: dataset.type, match_name_exact: true });
    const taken_by = datasets.find((one) => one.name === name && one.id !== id)?.id ?? null;
    return new LongshoreError(
      'E_DATASET_EXISTS',
      `the name "${name}" of type ${dataset.type} belongs to dataset ${taken_by ?? '(unknown)'}`,
      { fields: { dataset_id: id, name, type: dataset.type, taken_by }, cause: error },
    );
  }
}

/** How what is told of a dataset itself reaches the API. */
export async function carryOut(api: BioloopApi, entry: SpoolEntry, doubtful: boolean): Promise<unknown> {
  const { id } = entry.body as { id: number };
  const options = { ...SHORT, doubtful };
  switch (entry.kind) {
    case 'patch':
      await patchTold(api, id, entry.body.patch as ApiDatasetPatch);
      // The answer to a patch has neither all states nor the workflows.
      return await api.getDataset(id, { bundle: true }, SHORT);
    case 'state':
      return await api.addState(
        id,
        String(entry.body.state),
        entry.body.metadata as Record<string, unknown>,
        options,
      );
    case 'report': {
      const path = String(entry.body.path);
      const content = await readFile(path).catch((error: unknown) => {
        throw new LongshoreError('E_VALUE', `the report ${path} of dataset ${id} cannot be read`, {
          fields: { dataset_id: id, path },
          cause: error,
        });
      });
      return await api.putReport(id, basename(path), new Blob([content]), SHORT);
    }
    default:
      throw new LongshoreError('E_VALUE', `the spool has an entry of the unknown kind "${entry.kind}"`);
  }
}

async function patchTold(api: BioloopApi, id: number, patch: ApiDatasetPatch): Promise<void> {
  if (patch.metadata !== undefined && hasStructure(patch.metadata)) {
    const before = await api.getDataset(id, {}, SHORT);
    const nulls = listsInTheWay(before.metadata, patch.metadata);
    if (nulls !== null) await api.patchDataset(id, { metadata: nulls }, SHORT);
  }
  await api.patchDataset(id, patch, SHORT);
}

export const notFound = (id: number, cause?: unknown): LongshoreError =>
  new LongshoreError('E_DATASET_NOT_FOUND', `there is no dataset ${id}`, {
    fields: { dataset_id: id },
    ...(cause === undefined ? {} : { cause }),
  });

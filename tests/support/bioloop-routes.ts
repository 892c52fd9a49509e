/** The endpoints of the double, with the answers (and the traps) of the real server. */
import {
  absent,
  type BioloopStore,
  broken,
  conflict,
  invalid,
  orNull,
  Refusal,
  type StoredDataset,
} from './bioloop-store.ts';
import { type Behaviour, flag, isSet, type Route } from './bioloop-call.ts';
import { uploadRoutes } from './bioloop-routes-uploads.ts';
import { workflowRoutes } from './bioloop-routes-workflows.ts';

const big = (value: bigint | null): string | null => (value === null ? null : value.toString());

const APART = new Set(['states', 'files', 'audit_logs', 'project_ids', 'report']);

export function datasetView(
  dataset: StoredDataset,
  parts: { bundle?: boolean } = {},
): Record<string, unknown> {
  const { bundle, ...rest } = dataset;
  const columns = Object.fromEntries(Object.entries(rest).filter(([key]) => !APART.has(key)));
  return {
    ...columns,
    metadata: orNull(dataset.metadata),
    du_size: big(dataset.du_size),
    size: big(dataset.size),
    bundle_size: big(dataset.bundle_size),
    ...(parts.bundle === true
      ? { bundle: bundle === null ? null : { id: dataset.id, ...bundle, size: bundle.size.toString() } }
      : {}),
  };
}

export function routes(store: BioloopStore, behaviour: Behaviour): Route[] {
  const one = (dataset: StoredDataset, query: URLSearchParams): Record<string, unknown> => ({
    ...datasetView(dataset, { bundle: isSet(query, 'bundle') }),
    states: dataset.states.toReversed(),
    audit_logs: dataset.audit_logs,
    ...(isSet(query, 'files')
      ? {
          files: [...dataset.files.values()]
            .filter(({ filetype }) => filetype !== 'directory')
            .map(({ path, md5 }) => ({ path, md5 })),
        }
      : {}),
    workflows: isSet(query, 'workflows')
      ? wholeWorkflows(dataset.id)
      : store.linked(dataset.id).map((id) => ({ id })),
  });

  /** Ten at most, and none at all when the workflow server does not answer. */
  const wholeWorkflows = (id: number): unknown[] =>
    behaviour.workflowServer
      ? store
          .linked(id)
          .flatMap((wf) => behaviour.served.get(wf) ?? [])
          .slice(0, 10)
      : [];

  return [
    ...uploadRoutes(store),
    ...workflowRoutes(store, behaviour),
    ['GET', /^datasets$/, ({ query }) => listOf(store, query)],
    [
      'POST',
      /^datasets$/,
      ({ body }) => {
        const created = store.create(body as Record<string, unknown>, false);
        return { ...datasetView(created), states: created.states };
      },
    ],
    ['POST', /^datasets\/bulk$/, ({ body }) => createAll(store, body)],
    [
      'POST',
      /^datasets\/associations$/,
      ({ body }) => {
        const pairs = body as { source_id: number; derived_id: number }[];
        for (const pair of pairs) {
          if (!store.datasets.has(pair.source_id) || !store.datasets.has(pair.derived_id)) throw conflict();
          if (
            store.associations.some(
              (has) => has.source_id === pair.source_id && has.derived_id === pair.derived_id,
            )
          )
            throw conflict();
        }
        store.associations.push(...pairs);
        return {};
      },
    ],
    ['GET', /^datasets\/(\d+)$/, ({ query }, [id]) => one(store.dataset(Number(id)), query)],
    [
      'PATCH',
      /^datasets\/(\d+)$/,
      ({ body }, [id]) => {
        const dataset = store.patch(Number(id), body as Record<string, unknown>);
        return { ...datasetView(dataset, { bundle: true }), states: dataset.states.toReversed() };
      },
    ],
    [
      'DELETE',
      /^datasets\/(\d+)$/,
      (_, [id]) => {
        const dataset = store.dataset(Number(id));
        if (dataset.archive_path === null) store.patch(dataset.id, { is_deleted: true });
        else startNamed(store, behaviour, dataset, 'delete');
        return {};
      },
    ],
    [
      'POST',
      /^datasets\/(\d+)\/files$/,
      ({ body }, [id]) => {
        const { filesDelay } = behaviour;
        // The answer goes out first, and what happens then nobody hears of.
        const write = (): void => {
          if (store.datasets.has(Number(id))) store.addFiles(Number(id), body as Record<string, unknown>[]);
        };
        if (typeof filesDelay === 'number') setTimeout(write, filesDelay);
        else void filesDelay?.then(write);
        return {};
      },
    ],
    [
      'GET',
      /^datasets\/(\d+)\/files$/,
      ({ query }, [id]) =>
        store.filesBelow(Number(id), query.get('basepath') ?? '').map(({ path, md5, size, filetype }) => ({
          path,
          md5,
          size: size === null ? null : String(size),
          filetype,
        })),
    ],
    [
      'POST',
      /^datasets\/(\d+)\/states$/,
      ({ body }, [id]) => {
        const { state, metadata } = body as { state?: string; metadata?: unknown };
        if (typeof state !== 'string' || state === '') throw invalid('Invalid value', 'state');
        store.dataset(Number(id)).states.push({ state, metadata: metadata ?? null, timestamp: store.now() });
        return {};
      },
    ],
    [
      'POST',
      /^datasets\/(\d+)\/workflows$/,
      ({ body }, [id]) => {
        store.link((body as { workflow_id: string }).workflow_id, Number(id));
        return {};
      },
    ],
    [
      'POST',
      /^datasets\/(\d+)\/workflow\/(integrated|stage)$/,
      (_, [id, name]) => ({
        workflow_id: startNamed(store, behaviour, store.dataset(Number(id)), name as string),
      }),
    ],
    [
      'PUT',
      /^datasets\/(\d+)\/report$/,
      ({ body, headers }, [id]) => {
        const dataset = store.dataset(Number(id));
        if (typeof dataset.metadata.report_id !== 'string') throw broken();
        const part = /name="report"; filename="([^"]*)"\r\n(?:[^\r]+\r\n)*\r\n([\s\S]*?)\r\n--/.exec(
          String(body),
        );
        if (part === null || !String(headers['content-type']).startsWith('multipart/form-data'))
          throw new Refusal(400, { message: 'no file' });
        dataset.report = { name: part[1] ?? '', content: part[2] ?? '' };
        return { path: `reports/${dataset.metadata.report_id}.html` };
      },
    ],
    [
      'POST',
      /^metrics$/,
      ({ body }) => {
        const given = body as Record<string, unknown>[];
        // With the time, which is the same for all of one request, they are the key.
        const keys = given.map(({ measurement, subject }) => JSON.stringify([measurement, subject]));
        if (new Set(keys).size < keys.length) throw new Refusal(409, { message: 'Unique constraint failed' });
        store.metrics.push(...given);
        return {};
      },
    ],
    [
      'POST',
      /^notifications$/,
      ({ body }) => {
        const given = body as Record<'label' | 'text' | 'type' | 'metadata', unknown> & {
          role_ids?: number[];
          user_ids?: number[];
        };
        if (typeof given.label !== 'string') throw invalid('Invalid value', 'label');
        if ((given.role_ids ?? given.user_ids ?? []).length === 0) throw invalid('Invalid value', 'role_ids');
        // Its validation calls them optional, its database layer refuses what is undefined.
        for (const key of ['text', 'type', 'metadata'] as const) if (given[key] === undefined) throw broken();
        store.notifications.push(given);
        return { id: store.nextId(), ...given };
      },
    ],
    [
      'GET',
      /^projects\/all$/,
      () => ({
        metadata: { count: store.projects.size },
        projects: [...store.projects.values()].slice(0, 25),
      }),
    ],
    [
      'GET',
      /^projects\/([^/]+)$/,
      (_, [id]) => {
        const found = store.projects.get(decodeURIComponent(id as string));
        if (found === undefined) throw absent();
        return { ...found, datasets: [] };
      },
    ],
  ];
}

function listOf(store: BioloopStore, query: URLSearchParams): unknown {
  const name = query.get('name')?.toLowerCase();
  const exact = isSet(query, 'match_name_exact');
  const deleted = flag(query, 'deleted');
  const archived = flag(query, 'archived');
  const days = query.get('days_since_last_staged');
  const since = days === null ? null : Date.now() - Number(days) * 86_400_000;
  const found = [...store.datasets.values()]
    .filter((one) => query.get('type') === null || one.type === query.get('type'))
    // Whatever the case of letters, also where it must match as a whole.
    .filter(
      (one) =>
        name === undefined ||
        (exact ? one.name.toLowerCase() === name : one.name.toLowerCase().includes(name)),
    )
    .filter((one) => one.is_deleted === (deleted ?? false))
    .filter((one) => archived === null || (one.archive_path !== null) === archived)
    .filter(
      (one) =>
        since === null ||
        (one.is_staged &&
          !one.states.some(({ state, timestamp }) => state === 'STAGED' && Date.parse(timestamp) >= since)),
    )
    .toSorted((a, b) => (a.updated_at === b.updated_at ? b.id - a.id : a.updated_at < b.updated_at ? 1 : -1));
  const offset = Number(query.get('offset') ?? 0);
  const limit = query.get('limit');
  const page = found.slice(offset, limit === null ? undefined : offset + Number(limit));
  return {
    metadata: { count: found.length },
    datasets: page.map((one) => ({
      ...datasetView(one, { bundle: isSet(query, 'bundle') }),
      ...(isSet(query, 'include_audit_logs') ? { audit_logs: one.audit_logs } : {}),
    })),
  };
}

const DATASET_TYPES = new Set(['RAW_DATA', 'DATA_PRODUCT']);

function createAll(store: BioloopStore, body: unknown): unknown {
  const { datasets } = body as { datasets?: Record<string, unknown>[] };
  if (!Array.isArray(datasets) || datasets.length < 1 || datasets.length > 100)
    throw invalid('Invalid value', 'datasets');
  // One that is invalid has all of them refused.
  for (const [at, { name, type, origin_path, description }] of datasets.entries()) {
    const values = { name, type, origin_path, ...(description === undefined ? {} : { description }) };
    for (const [key, value] of Object.entries(values))
      if (typeof value !== 'string' || value === '') throw invalid('Invalid value', `datasets[${at}].${key}`);
    if (!DATASET_TYPES.has(String(type))) throw invalid('Invalid value', `datasets[${at}].type`);
  }
  const answer = { created: [] as unknown[], conflicted: [] as unknown[], errored: [] as unknown[] };
  for (const given of datasets) {
    const named = { name: String(given.name).replace(/[^A-Za-z0-9_]+/g, '-'), type: given.type };
    try {
      answer.created.push(datasetView(store.create(given, true)));
    } catch (error) {
      const taken = error instanceof Refusal && error.status === 409;
      (taken ? answer.conflicted : answer.errored).push(named);
    }
  }
  return answer;
}

function startNamed(store: BioloopStore, behaviour: Behaviour, dataset: StoredDataset, name: string): string {
  if (!behaviour.workflowServer) throw broken();
  const active = store
    .linked(dataset.id)
    .map((id) => behaviour.served.get(id))
    .some((wf) => wf?.name === name && ['PENDING', 'STARTED'].includes(String(wf.status)));
  if (active) throw new Refusal(400, { message: 'another workflow of this name is active' });
  const id = crypto.randomUUID();
  store.link(id, dataset.id);
  behaviour.served.set(id, { id, name, status: 'STARTED', steps: [], dataset_id: dataset.id });
  return id;
}

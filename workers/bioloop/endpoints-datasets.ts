/** The endpoints of datasets, one function each. What must not run twice says how it is looked up. */
import type { z } from 'zod';
import { normaliseName } from '../dataset/name.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import type { ApiClient } from './client.ts';
import {
  type ApiDatasetPatch,
  type ApiDatasetQuery,
  type ApiFile,
  type ApiNewDataset,
  type CallOptions,
  encodeDataset,
} from './dataset-requests.ts';
import { sizeText } from './encoding.ts';
import { workflowEndpoints } from './endpoints-workflows.ts';
import {
  type ApiDataset,
  type BulkAnswer,
  bulkAnswer,
  datasetAnswer,
  datasetList,
  fileList,
  reportAnswer,
  startedWorkflow,
} from './schemas.ts';

/** What the server has just created it has trimmed. */
const sameOrigin = (found: ApiDataset, wanted: ApiNewDataset): boolean =>
  found.origin_path === wanted.origin_path || found.origin_path === wanted.origin_path.trim();

export function datasetEndpoints(client: ApiClient) {
  const { request } = client;

  const listDatasets = (query: ApiDatasetQuery, options: CallOptions = {}) =>
    request({
      method: 'GET',
      endpoint: 'GET datasets',
      path: 'datasets',
      query: { deleted: false, ...query },
      answer: datasetList,
      ...options,
    });

  const getDataset = (
    id: number,
    include: { files?: boolean; workflows?: boolean; bundle?: boolean; last_task_run?: boolean } = {},
    options: CallOptions = {},
  ): Promise<ApiDataset> =>
    request({
      method: 'GET',
      endpoint: 'GET datasets/:id',
      path: `datasets/${id}`,
      query: { ...include },
      answer: datasetAnswer,
      ...options,
    });

  /**
   * The one with this name and type that is not deleted, which is the server's unique key, whatever the case of letters
   * there; its origin decides whether it is ours.
   */
  async function findDataset(wanted: ApiNewDataset, options: CallOptions = {}): Promise<ApiDataset | null> {
    const name = normaliseName(wanted.name);
    const { datasets } = await listDatasets(
      { name, type: wanted.type, match_name_exact: true, bundle: true },
      options,
    );
    return datasets.find((one) => one.name === name && sameOrigin(one, wanted)) ?? null;
  }

  return {
    listDatasets,
    getDataset,
    findDataset,

    /** Looked up by name, type and origin path. @throws E_API_CONFLICT, E_API_REFUSED (IMPORT outside its sources) */
    createDataset: (dataset: ApiNewDataset, options: CallOptions = {}): Promise<ApiDataset> =>
      request({
        method: 'POST',
        endpoint: 'POST datasets',
        path: 'datasets',
        json: encodeDataset(dataset),
        answer: datasetAnswer,
        once: true,
        lookUp: async () => {
          const found = await findDataset(dataset, { retries: 0 });
          return found === null ? null : { found };
        },
        ...options,
      }),

    /**
     * 1 to 100 at a time; every one by itself. Sent twice it answers `conflicted` for those that the first one created,
     * so that it needs no look-up: whose origin the conflicting one has tells the caller whether it is his own.
     */
    createDatasets: (datasets: readonly ApiNewDataset[], options: CallOptions = {}): Promise<BulkAnswer> => {
      if (datasets.length < 1 || datasets.length > 100)
        throw new LongshoreError('E_VALUE', `${datasets.length} datasets in one call; expected 1 to 100`);
      return request({
        method: 'POST',
        endpoint: 'POST datasets/bulk',
        path: 'datasets/bulk',
        json: { datasets: datasets.map(encodeDataset) },
        answer: bulkAnswer,
        ...options,
      });
    },

    /** Setting the same values twice is the same as once. The name is not normalised. @throws E_API_NOT_FOUND */
    patchDataset: (id: number, patch: ApiDatasetPatch, options: CallOptions = {}): Promise<ApiDataset> =>
      request({
        method: 'PATCH',
        endpoint: 'PATCH datasets/:id',
        path: `datasets/${id}`,
        json: encodeDataset(patch),
        answer: datasetAnswer,
        ...options,
      }),

    /** Starts `delete` for an archived one, marks another one. Looked up by what it leaves. */
    deleteDataset: (id: number, options: CallOptions = {}): Promise<void> =>
      request({
        method: 'DELETE',
        endpoint: 'DELETE datasets/:id',
        path: `datasets/${id}`,
        answer: null,
        once: true,
        lookUp: async () => {
          const dataset = await getDataset(id, {}, { retries: 0 });
          const begun = dataset.is_deleted || (await activeWorkflow(client, id, 'delete')) !== null;
          return begun ? { found: undefined } : null;
        },
        ...options,
      }),

    /**
     * The server answers before it writes; see workers/catalog/rest/files.ts for how that is waited for. It skips paths
     * that it has, so that sending twice is the same as once.
     */
    addFiles: (id: number, files: readonly ApiFile[], options: CallOptions = {}): Promise<unknown> =>
      request({
        method: 'POST',
        endpoint: 'POST datasets/:id/files',
        path: `datasets/${id}/files`,
        json: files.map((file) => ({ ...file, size: sizeText(file.size) })),
        answer: null,
        ...options,
      }),

    /** What has its place below a folder, nothing for a file; null: there is no such path. */
    filesBelow: (id: number, path: string, options: CallOptions = {}) =>
      request({
        method: 'GET',
        endpoint: 'GET datasets/:id/files',
        path: `datasets/${id}/files`,
        query: { basepath: path },
        answer: fileList,
        ...options,
      }).catch((error: unknown) => {
        if (isLongshoreError(error) && error.code === 'E_API_NOT_FOUND') return null;
        throw error;
      }),

    /** Looked up as the newest state: the same state with the same metadata twice in a row tells nothing new. */
    addState: (
      id: number,
      state: string,
      metadata: Record<string, unknown> = {},
      options: CallOptions = {},
    ): Promise<unknown> =>
      request<unknown>({
        method: 'POST',
        endpoint: 'POST datasets/:id/states',
        path: `datasets/${id}/states`,
        json: { state, metadata },
        answer: null,
        once: true,
        lookUp: async () => {
          const newest = (await getDataset(id, {}, { retries: 0 })).states?.[0];
          const there = newest?.state === state && sameJson(newest.metadata, metadata);
          return there ? { found: null } : null;
        },
        ...options,
      }),

    /** Looked up among the dataset's workflows. @throws E_API_CONFLICT it belongs to another dataset */
    linkWorkflow: (id: number, workflow_id: string, options: CallOptions = {}): Promise<unknown> =>
      request<unknown>({
        method: 'POST',
        endpoint: 'POST datasets/:id/workflows',
        path: `datasets/${id}/workflows`,
        json: { workflow_id },
        answer: null,
        once: true,
        lookUp: async () => {
          const { workflows } = await getDataset(id, {}, { retries: 0 });
          return workflows?.some((one) => one.id === workflow_id) === true ? { found: null } : null;
        },
        ...options,
      }),

    /**
     * Looked up as an active workflow of that name, of which the server allows one for each dataset.
     *
     * @throws E_API_REQUEST one is active already
     */
    startWorkflow: (id: number, name: 'integrated' | 'stage', options: CallOptions = {}) =>
      request({
        method: 'POST',
        endpoint: 'POST datasets/:id/workflow/:name',
        path: `datasets/${id}/workflow/${name}`,
        json: {},
        answer: startedWorkflow,
        once: true,
        lookUp: async () => {
          const found = await activeWorkflow(client, id, name);
          return found === null ? null : { found: { workflow_id: found } };
        },
        ...options,
      }),

    /** Replaces the report; `metadata.report_id` has to be set before. */
    putReport: (id: number, name: string, content: Blob, options: CallOptions = {}) =>
      request({
        method: 'PUT',
        endpoint: 'PUT datasets/:id/report',
        path: `datasets/${id}/report`,
        form: async () => {
          const form = new FormData();
          form.append('report', content, name);
          return form;
        },
        answer: reportAnswer,
        ...options,
      }),

    /** Their pair is unique there; a conflict after an outcome that nobody knows is our own. */
    associate: (pairs: readonly { source_id: number; derived_id: number }[], options: CallOptions = {}) =>
      request<unknown>({
        method: 'POST',
        endpoint: 'POST datasets/associations',
        path: 'datasets/associations',
        json: pairs,
        answer: null,
        once: true,
        conflictMeans: { found: null },
        ...options,
      }),
  };
}

/**
 * By the list of workflows, which fails when the workflow server does: the workflows of a dataset would be an empty list
 * then, and a second one would be started.
 */
async function activeWorkflow(client: ApiClient, dataset_id: number, name: string): Promise<string | null> {
  const { results } = await workflowEndpoints(client).listWorkflows({ dataset_id }, { retries: 0 });
  const active = results.find(
    (one) => one.name === name && (one.status === 'PENDING' || one.status === 'STARTED'),
  );
  return active?.id ?? null;
}

const sorted = (value: unknown): unknown =>
  typeof value !== 'object' || value === null
    ? value
    : Array.isArray(value)
      ? value.map(sorted)
      : Object.fromEntries(
          Object.entries(value)
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, inner]) => [key, sorted(inner)]),
        );

export const sameJson = (one: unknown, other: unknown): boolean =>
  JSON.stringify(sorted(one ?? {})) === JSON.stringify(sorted(other ?? {}));

export type DatasetEndpoints = ReturnType<typeof datasetEndpoints>;
export type DatasetList = z.infer<typeof datasetList>;

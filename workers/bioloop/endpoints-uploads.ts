/** The endpoints of uploads. */
import type { ApiClient } from './client.ts';
import type { CallOptions } from './dataset-requests.ts';
import { datasetEndpoints } from './endpoints-datasets.ts';
import {
  expiredUploads,
  failedUploads,
  stalledUploads,
  type UploadLog,
  uploadList,
  uploadLog,
  uploadLogPatched,
  uploadsByStatus,
} from './schemas.ts';

export interface UploadLogPatch {
  /** Not checked against the order of states by the server; one of the three failures tombstones the dataset. */
  status?: string;
  /** Merged at the top level. */
  metadata?: Record<string, unknown>;
  retry_count?: number;
  /** Links the workflow in the same transaction. */
  workflow_id?: string;
}

export function uploadEndpoints(client: ApiClient) {
  const { request } = client;

  const uploadLogOf = (dataset_id: number, options: CallOptions = {}): Promise<UploadLog> =>
    request({
      method: 'GET',
      endpoint: 'GET datasets/uploads/:id/upload-log',
      path: `datasets/uploads/${dataset_id}/upload-log`,
      answer: uploadLog,
      ...options,
    });

  return {
    /** @throws E_API_NOT_FOUND the dataset was not uploaded */
    uploadLog: uploadLogOf,

    /**
     * Setting the same values twice is the same as once, but for `workflow_id`, which is known the second time: what the
     * log says then tells whether the first one was carried out.
     */
    patchUploadLog: async (
      dataset_id: number,
      patch: UploadLogPatch,
      options: CallOptions = {},
    ): Promise<void> => {
      await request<unknown>({
        method: 'PATCH',
        endpoint: 'PATCH datasets/uploads/:id/upload-log',
        path: `datasets/uploads/${dataset_id}/upload-log`,
        json: patch,
        answer: uploadLogPatched,
        ...(patch.workflow_id === undefined
          ? {}
          : {
              once: true,
              lookUp: async () => {
                const log = await uploadLogOf(dataset_id, { retries: 0 });
                const done = patch.status === undefined || log.status === patch.status;
                const linked = done && (await isLinked(client, dataset_id, patch.workflow_id as string));
                return linked ? { found: log } : null;
              },
            }),
        ...options,
      });
    },

    listUploads: (
      query: { status?: string; limit?: number; offset?: number } = {},
      options: CallOptions = {},
    ) =>
      request({
        method: 'GET',
        endpoint: 'GET datasets/uploads',
        path: 'datasets/uploads',
        query,
        answer: uploadList,
        ...options,
      }),

    /** Of the upload itself; answers the log. */
    patchUpload: (
      dataset_id: number,
      patch: { status: string },
      options: CallOptions = {},
    ): Promise<unknown> =>
      request<unknown>({
        method: 'PATCH',
        endpoint: 'PATCH datasets/uploads/:id',
        path: `datasets/uploads/${dataset_id}`,
        json: patch,
        answer: null,
        ...options,
      }),

    /** UPLOADED, VERIFYING and VERIFIED that nobody has touched for half a minute. */
    stalledUploads: (options: CallOptions = {}) =>
      request({
        method: 'GET',
        endpoint: 'GET datasets/uploads/stalled',
        path: 'datasets/uploads/stalled',
        answer: stalledUploads,
        ...options,
      }),

    /** In PROCESSING_FAILED; `max_retry_count` is inclusive. */
    failedUploads: (
      query: { max_retry_count?: number; max_age_hours?: number } = {},
      options: CallOptions = {},
    ) =>
      request({
        method: 'GET',
        endpoint: 'GET datasets/uploads/failed',
        path: 'datasets/uploads/failed',
        query: { max_retry_count: 2, max_age_hours: 72, ...query },
        answer: failedUploads,
        ...options,
      }),

    /** `age_days` may be a fraction. */
    expiredUploads: (query: { status?: string; age_days?: number } = {}, options: CallOptions = {}) =>
      request({
        method: 'GET',
        endpoint: 'GET datasets/uploads/expired',
        path: 'datasets/uploads/expired',
        query: { status: 'UPLOADING', age_days: 7, ...query },
        answer: expiredUploads,
        ...options,
      }),

    uploadsByStatus: (statuses: readonly string[], options: CallOptions = {}) =>
      request({
        method: 'GET',
        endpoint: 'GET datasets/uploads/by-status',
        path: 'datasets/uploads/by-status',
        query: { statuses },
        answer: uploadsByStatus,
        ...options,
      }),
  };
}

async function isLinked(client: ApiClient, dataset_id: number, workflow_id: string): Promise<boolean> {
  const { workflows } = await datasetEndpoints(client).getDataset(dataset_id, {}, { retries: 0 });
  return workflows?.some(({ id }) => id === workflow_id) === true;
}

export type UploadEndpoints = ReturnType<typeof uploadEndpoints>;

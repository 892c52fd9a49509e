/** Uploads as the facility's REST API knows them. */
import { type Config, hasUploads } from '../../config/index.ts';
import type { ClientOptions } from '../bioloop/client.ts';
import { type BioloopApi, openApi } from '../bioloop/endpoints.ts';
import type { UploadLog as ApiUploadLog } from '../bioloop/schemas.ts';
import { type ErrorCode, isLongshoreError, LongshoreError } from '../errors.ts';
import type { ListedUpload, UploadLog, Uploads } from './contract.ts';

/** More than any retry count: those that were tried too often are to be found too. */
const ANY_RETRY_COUNT = 1_000_000;
const GIVEN_UP = 'PERMANENTLY_FAILED';

/** @throws E_UPLOADS_OFF when the catalog is no REST API, E_CONFIG when its address or token is missing */
export function openUploads(config: Config, options: Partial<ClientOptions> = {}): Uploads {
  if (!hasUploads(config.catalog))
    throw new LongshoreError(
      'E_UPLOADS_OFF',
      `there are no uploads: catalog.backend is "${config.catalog.backend}", and they come with "rest" only`,
      { fields: { key: 'catalog.backend', value: config.catalog.backend } },
    );
  return restUploads(openApi(config, { delay_scale: config.api.delay_scale, ...options }));
}

export function restUploads(api: BioloopApi): Uploads {
  return {
    log: async (dataset_id) => {
      const log = await api
        .uploadLog(dataset_id)
        .catch(orElse('E_UPLOAD_NOT_FOUND', `dataset ${dataset_id} was not uploaded`));
      return logOf(dataset_id, log);
    },
    patch: async (dataset_id, patch) => {
      await api.patchUploadLog(dataset_id, patch);
    },
    stalled: async () => listed(await api.stalledUploads()),
    failed: async ({ max_age_hours }) =>
      listed(await api.failedUploads({ max_retry_count: ANY_RETRY_COUNT, max_age_hours })),
    expired: async ({ age_days }) => listed(await api.expiredUploads({ status: 'UPLOADING', age_days })),
    givenUp: async () => {
      // Two of them: a single one is no list to the API.
      const { uploads } = await api.uploadsByStatus([GIVEN_UP, 'UPLOAD_FAILED']);
      return uploads
        .filter(({ status }) => status === GIVEN_UP)
        .map(({ dataset_id, dataset_name, origin_path }) => ({ dataset_id, dataset_name, origin_path }));
    },
    dataset: async (dataset_id) => {
      // Without the whole workflows: of those the API answers ten at most, and none when the workflow server is away.
      const { is_deleted, workflows } = await api
        .getDataset(dataset_id)
        .catch(orElse('E_DATASET_NOT_FOUND', `the API has no dataset ${dataset_id}`));
      return { is_deleted, workflow_ids: (workflows ?? []).map(({ id }) => id) };
    },
    workflowName: async (workflow_id) => {
      const { results } = await api.listWorkflows({ workflow_id });
      return results.find(({ id }) => id === workflow_id)?.name ?? null;
    },
    notify: async (notification) => {
      await api.createNotification(notification);
    },
    close: () => api.close(),
  };
}

function logOf(dataset_id: number, log: ApiUploadLog): UploadLog {
  const { status, retry_count, process_id, metadata, updated_at, dataset } = log;
  if (dataset !== null) return { dataset_id, status, retry_count, process_id, metadata, updated_at, dataset };
  throw new LongshoreError('E_API_ANSWER', `the upload log of dataset ${dataset_id} names no dataset`, {
    fields: { dataset_id },
  });
}

const listed = ({ uploads }: { uploads: readonly ListedUpload[] }): ListedUpload[] =>
  uploads.map(({ dataset_id, dataset_name }) => ({ dataset_id, dataset_name }));

/** What is missing, by a code that says what it is. */
const orElse =
  (code: ErrorCode, message: string) =>
  (error: unknown): never => {
    if (isLongshoreError(error) && error.code === 'E_API_NOT_FOUND')
      throw new LongshoreError(code, message, { cause: error });
    throw error;
  };

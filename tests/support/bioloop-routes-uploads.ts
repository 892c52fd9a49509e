/** The endpoints of uploads of the double. */
import type { Route } from './bioloop-call.ts';
import { absent, type BioloopStore, orNull, type StoredUpload } from './bioloop-store.ts';

const DAY_MS = 86_400_000;
const FAILURES = ['UPLOAD_FAILED', 'VERIFICATION_FAILED', 'PERMANENTLY_FAILED'];

export function uploadRoutes(store: BioloopStore): Route[] {
  const uploadOf = (id: string | undefined): StoredUpload => {
    const found = store.uploads.get(Number(id));
    if (found === undefined) throw absent();
    return found;
  };
  const view = (upload: StoredUpload) => {
    const { id, name, type, origin_path } = store.dataset(upload.dataset_id);
    return { ...upload, metadata: orNull(upload.metadata), dataset: { id, name, type, origin_path } };
  };
  const listOf = (
    keep: (upload: StoredUpload) => boolean,
    shape: (upload: StoredUpload) => Record<string, unknown>,
  ) => {
    const uploads = [...store.uploads.values()].filter(keep).map((upload) => ({
      dataset_id: upload.dataset_id,
      dataset_name: store.dataset(upload.dataset_id).name,
      ...shape(upload),
    }));
    return { uploads };
  };
  /** Only one of the lists counts them. */
  const countedOf = (list: { uploads: unknown[] }) => ({ metadata: { count: list.uploads.length }, ...list });
  const age = (upload: StoredUpload): number => Date.now() - Date.parse(upload.updated_at);
  const setStatus = (upload: StoredUpload, status: string): void => {
    upload.status = status;
    upload.updated_at = store.now();
    if (FAILURES.includes(status)) store.tombstone(upload.dataset_id);
  };

  return [
    [
      'GET',
      /^datasets\/uploads\/stalled$/,
      () =>
        countedOf(
          listOf(
            (one) => ['UPLOADED', 'VERIFYING', 'VERIFIED'].includes(one.status) && age(one) > 30_000,
            (one) => ({ uploaded_at: one.updated_at }),
          ),
        ),
    ],
    [
      'GET',
      /^datasets\/uploads\/failed$/,
      ({ query }) =>
        listOf(
          (one) =>
            one.status === 'PROCESSING_FAILED' &&
            one.retry_count <= Number(query.get('max_retry_count') ?? 2) &&
            age(one) <= Number(query.get('max_age_hours') ?? 72) * 3_600_000,
          (one) => ({ retry_count: one.retry_count, last_error: one.metadata.failure_reason ?? null }),
        ),
    ],
    [
      'GET',
      /^datasets\/uploads\/expired$/,
      ({ query }) =>
        listOf(
          (one) =>
            one.status === (query.get('status') ?? 'UPLOADING') &&
            age(one) > Number(query.get('age_days') ?? 7) * DAY_MS,
          (one) => ({ status: one.status, age_days: Math.floor(age(one) / DAY_MS) }),
        ),
    ],
    [
      'GET',
      /^datasets\/uploads\/by-status$/,
      ({ query }) =>
        listOf(
          (one) => query.getAll('statuses').includes(one.status),
          (one) => ({ origin_path: store.dataset(one.dataset_id).origin_path, status: one.status }),
        ),
    ],
    ['GET', /^datasets\/uploads\/(\d+)\/upload-log$/, (_, [id]) => view(uploadOf(id))],
    [
      'PATCH',
      /^datasets\/uploads\/(\d+)\/upload-log$/,
      ({ body }, [id]) => {
        const upload = uploadOf(id);
        const { status, metadata, retry_count, workflow_id } = body as Partial<StoredUpload> & {
          workflow_id?: string;
        };
        // One transaction: a workflow that is known already takes the rest back.
        if (workflow_id !== undefined) store.link(workflow_id, upload.dataset_id);
        if (metadata !== undefined) upload.metadata = { ...upload.metadata, ...metadata };
        if (retry_count !== undefined) Object.assign(upload, { retry_count, updated_at: store.now() });
        if (status !== undefined) setStatus(upload, status);
        const { id: dataset_id, name } = store.dataset(upload.dataset_id);
        return { success: true, upload_log: { ...upload, dataset: { id: dataset_id, name } } };
      },
    ],
    [
      'GET',
      /^datasets\/uploads$/,
      () =>
        countedOf(
          listOf(
            () => true,
            ({ status }) => ({ status }),
          ),
        ),
    ],
    [
      'PATCH',
      /^datasets\/uploads\/(\d+)$/,
      ({ body }, [id]) => {
        const upload = uploadOf(id);
        setStatus(upload, (body as { status: string }).status);
        const { create_method, metadata, created_at } = store.dataset(upload.dataset_id);
        const { dataset, ...rest } = view(upload);
        const more = {
          create_method,
          metadata,
          created_at,
          source_datasets: [],
          projects: [],
          audit_logs: [],
        };
        return { ...rest, dataset: { ...dataset, ...more } };
      },
    ],
  ];
}

/** An upload as the facility's API and its upload server leave it: a row, and files below the upload root. */
import { join } from 'node:path';
import { type Tree, writeTree } from '../uploads/trees.ts';
import { type BioloopApi, startBioloopApi } from './bioloop-api.ts';
import { makePlace, type Place } from './place.ts';

export interface UploadPlace {
  readonly place: Place;
  readonly api: BioloopApi;
  /** The upload root. */
  readonly root: string;
  /** A dataset with its upload; its files below `{root}/raw_data/{id}/{name}`. */
  readonly upload: (name: string, files: Tree, given?: GivenUpload) => { id: number; origin: string };
  readonly status: (id: number) => string | undefined;
  readonly metadata: (id: number) => Record<string, unknown>;
}

export interface GivenUpload {
  status?: string;
  metadata?: Record<string, unknown>;
  retry_count?: number;
  process_id?: string | null;
  /** Since the API last touched it; default: a minute. */
  minutes?: number;
  type?: string;
}

/** `overrides`: of the configuration; the catalog is the API. */
export async function makeUploads(
  overrides: Record<string, unknown> = {},
  ofApi: Record<string, unknown> = {},
): Promise<UploadPlace> {
  const api = await startBioloopApi();
  const place = await makePlace({
    catalog: { backend: 'rest' },
    api: { base_url: api.url, auth_token: api.token, ...ofApi },
    ...overrides,
  });
  const root = place.dir('data/uploads');
  return {
    place,
    api,
    root,
    upload: (name, files, given = {}) => {
      const { type = 'RAW_DATA', minutes = 1 } = given;
      const { id } = api.store.create({ name, type, create_method: 'UPLOAD' }, false);
      const folder = type === 'RAW_DATA' ? 'raw_data' : 'data_products';
      const origin = writeTree(join(root, folder, String(id), name), files);
      api.store.dataset(id).origin_path = origin;
      api.store.uploads.set(id, {
        dataset_id: id,
        status: given.status ?? 'UPLOADED',
        retry_count: given.retry_count ?? 0,
        process_id: given.process_id ?? null,
        metadata: given.metadata ?? {},
        updated_at: ago(minutes),
      });
      return { id, origin };
    },
    status: (id) => api.store.uploads.get(id)?.status,
    metadata: (id) => api.store.uploads.get(id)?.metadata ?? {},
  };
}

export const ago = (minutes: number): string => new Date(Date.now() - minutes * 60_000).toISOString();

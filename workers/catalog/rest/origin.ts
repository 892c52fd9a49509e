/**
 * The endpoint that creates one dataset trims its origin path; a folder may end in a blank all the same. It is put right
 * before there is a workflow, so that none ever looks at a path that nobody has named.
 */
import type { BioloopApi } from '../../bioloop/endpoints.ts';
import type { ApiDataset } from '../../bioloop/schemas.ts';
import { LongshoreError } from '../../errors.ts';
import { SHORT } from './datasets.ts';

/** @throws E_VALUE the API cannot keep this path */
export async function withOrigin(
  api: BioloopApi,
  told: ApiDataset,
  origin_path: string,
): Promise<ApiDataset> {
  if (told.origin_path === origin_path) return told;
  const patched = await api.patchDataset(told.id, { origin_path }, SHORT);
  if (patched.origin_path === origin_path) return { ...told, origin_path };
  const [kept, given] = [patched.origin_path, origin_path].map((path) => JSON.stringify(path));
  throw new LongshoreError(
    'E_VALUE',
    `the API keeps ${kept} for the path ${given}, which is another folder`,
    {
      fields: { dataset_id: told.id, field: 'origin_path', value: origin_path },
      hint: 'Rename the folder so that its name neither begins nor ends in a blank, and register it again.',
    },
  );
}

/** A registration of this folder was killed before it had put the path right. */
export const isLeftTrimmed = (told: ApiDataset, origin_path: string): boolean =>
  told.origin_path !== origin_path &&
  told.origin_path === origin_path.trim() &&
  told.archive_path === null &&
  !told.is_staged &&
  (told.workflows ?? []).length === 0;

/** What is sent of datasets and their files. */
import { exactNumber } from '../dataset/byte-size.ts';
import { sizeText } from './encoding.ts';

export interface ApiNewDataset {
  name: string;
  type: string;
  origin_path: string;
  create_method?: string;
  /** Escaped as HTML by the server. */
  description?: string;
  /** Ignored by `createDatasets`. */
  project_id?: string;
  src_instrument_id?: number;
  src_dataset_id?: number;
  du_size?: bigint | number;
  size?: bigint | number;
  bundle_size?: bigint | number;
  workflow_id?: string;
  state?: string;
  metadata?: Record<string, unknown>;
}

/** Any column; metadata is merged deeply, the bundle upserted. Sizes may exceed 2^53. */
export interface ApiDatasetPatch {
  name?: string;
  origin_path?: string;
  archive_path?: string | null;
  staged_path?: string | null;
  is_deleted?: boolean;
  is_staged?: boolean;
  /** Decimal text too, as the spool keeps it; null is refused. */
  du_size?: bigint | number | string;
  size?: bigint | number | string;
  bundle_size?: bigint | number;
  num_files?: number | null;
  num_directories?: number | null;
  description?: string | null;
  metadata?: Record<string, unknown>;
  bundle?: { name: string; size: bigint | number; md5: string | null };
}

export interface ApiDatasetQuery {
  type?: string;
  name?: string;
  /** Case is ignored all the same. */
  match_name_exact?: boolean;
  days_since_last_staged?: number;
  /** Default false; null: the server's default. */
  deleted?: boolean | null;
  archived?: boolean;
  bundle?: boolean;
  include_audit_logs?: boolean;
  limit?: number;
  offset?: number;
}

export interface ApiFile {
  path: string;
  md5: string | null;
  size: bigint | number;
  type: string;
}

/** How a call is made; all optional. `doubtful`: an earlier process may have made it. */
export interface CallOptions {
  retries?: number;
  signal?: AbortSignal;
  doubtful?: boolean;
}

const SIZES = ['du_size', 'size', 'bundle_size'] as const;

/** Sizes as decimal text at the top level, as a number in `bundle`. */
export function encodeDataset(given: ApiNewDataset | ApiDatasetPatch): Record<string, unknown> {
  const sent: Record<string, unknown> = { ...given };
  for (const name of SIZES) {
    const value = given[name];
    if (value !== undefined) sent[name] = sizeText(value);
  }
  if ('bundle' in given && given.bundle !== undefined)
    sent.bundle = { ...given.bundle, size: exactNumber(given.bundle.size) };
  return sent;
}

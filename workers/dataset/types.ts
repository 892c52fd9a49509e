/** What the catalog knows of a dataset. Sizes are bytes and safe to 2^53; larger ones travel as text at the edges. */
export interface Dataset {
  id: number;
  name: string;
  type: string;
  origin_path: string;
  archive_path: string | null;
  staged_path: string | null;
  is_deleted: boolean;
  is_staged: boolean;
  /** As `du -sb`: apparent sizes of everything, directories included. */
  du_size: number | null;
  size: number | null;
  num_files: number | null;
  num_directories: number | null;
  metadata: DatasetMetadata;
  description: string | null;
  create_method: string | null;
  project_id?: string | null;
  created_at: string;
  updated_at: string;
  bundle?: Bundle | null;
  /** Newest first. */
  states?: DatasetState[];
  workflows?: { id: string }[];
}

export interface DatasetMetadata {
  stage_alias?: string;
  report_id?: string;
  num_genome_files?: number;
  [key: string]: unknown;
}

export interface Bundle {
  name: string;
  size: number;
  md5: string | null;
  /** By digest name, hex. Holds md5 too when it was computed. */
  digests: Record<string, string>;
  /** When the archived bytes were last read back and proven; null until then. */
  verified_at: string | null;
}

export type DatasetStateName =
  | 'REGISTERED'
  | 'READY'
  | 'ARCHIVED'
  | 'FETCHED'
  | 'STAGED'
  | 'DOWNLOADED'
  | 'QC'
  | 'PURGED'
  | 'DELETED';

export interface DatasetState {
  state: DatasetStateName;
  timestamp: string;
  metadata: Record<string, unknown>;
}

/** A file of a dataset. `path` is relative with `/`; bytes of a name that are no UTF-8 are written `\xNN`. */
export interface FileRow {
  path: string;
  type: 'file' | 'symbolic link';
  size: number;
  md5: string | null;
  digests: Record<string, string>;
}

import type { ByteSize } from './byte-size.ts';

/** What the catalog knows of a dataset. Sizes are bytes. */
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
  du_size: ByteSize | null;
  size: ByteSize | null;
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
  /** Of `size`: holes of files. 0 where the file system does not tell. */
  hole_bytes?: number;
  /** Read it with `pinOf`: it may have run out. */
  pinned?: Pin | null;
  [key: string]: unknown;
}

/** Keeps the staged copy of a dataset from being purged, by age, for want of space, and by hand. */
export interface Pin {
  /** ISO 8601; null: until somebody takes it away. */
  readonly until: string | null;
  readonly by: string;
  readonly reason: string | null;
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

/** How a copy was looked at, each level proving more than the one before. */
export type ProofLevel =
  /** The archive has an object of the recorded size. */
  | 'size'
  /** The archive itself states, or confirmed while it was stored, the recorded digest. */
  | 'digest'
  /** Every byte was read back, and the bundle's digest and every member's were computed from them. */
  | 'stream';

/** One archive's copy of a dataset's bundle. */
export interface BundleCopy {
  /** As `config.archive.backends` names it. */
  archive: string;
  key: string;
  size: number;
  /** Of the bundle, by name, hex. */
  digests: Record<string, string>;
  stored_at: string;
  /** Of the last proof that held; null: never proven since it was stored. */
  verified_at: string | null;
  verified_how: ProofLevel | null;
  /**
   * The newest line of the ledger that says something about its bytes, whoever looked: while that is a mismatch or a
   * missing object, the copy holds nothing that may be relied on, whenever it was proven before. It stays open until a
   * proof of level `digest` or `stream` holds: neither an outage nor an object of the right size takes it back.
   */
  finding: Proof | null;
}

/** What is recorded when a copy is stored; the rest comes from the ledger. */
export type StoredCopy = Omit<BundleCopy, 'verified_at' | 'verified_how' | 'finding'>;

/** A line of the ledger that says the copy is not what was archived. */
export const isFinding = ({ result }: { readonly result: string }): boolean =>
  result === 'mismatch' || result === 'missing';

/** One that proves its bytes: an object of the right size says nothing about them. */
export const isHeld = ({ result, level }: Pick<Proof, 'result' | 'level'>): boolean =>
  result === 'ok' && level !== 'size';

/** The finding that nobody has put right yet: the bytes were not proven since. */
export const openFinding = ({ finding }: Pick<BundleCopy, 'finding'>): Proof | null =>
  finding === null || finding.result === 'ok' ? null : finding;

/** One line of the fixity ledger. */
export interface Proof {
  dataset_id: number;
  archive: string;
  key: string;
  at: string;
  level: ProofLevel;
  /** `unavailable`: the archive was away, which says nothing about the copy. */
  result: 'ok' | 'mismatch' | 'missing' | 'unavailable';
  /** Read for it. */
  bytes: number;
  seconds: number;
  /** `scrub`, `stage`, `archive`, or who asked. */
  actor: string;
  /** What was expected and found, where they differ. */
  details: Record<string, unknown>;
}

export const DATASET_STATES = [
  'REGISTERED',
  'READY',
  'ARCHIVED',
  'FETCHED',
  'STAGED',
  'DOWNLOADED',
  'QC',
  'PURGED',
  'DELETED',
] as const;

export type DatasetStateName = (typeof DATASET_STATES)[number];

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
  /** Inode and times of change when the digests were computed; unset where that was not noted. See SIZE_UNKNOWN. */
  fingerprint?: string;
}

/** In place of a fingerprint: the row comes from a catalog that tells path and md5 only, and its size is none. */
export const SIZE_UNKNOWN = 'size unknown';

/** The catalog: the truth about datasets. Every back end passes the battery in tests/catalog/contract.ts. */
import type { ByteSize } from '../dataset/byte-size.ts';
import type {
  Bundle,
  BundleCopy,
  Dataset,
  DatasetState,
  DatasetStateName,
  FileRow,
  Proof,
  StoredCopy,
} from '../dataset/types.ts';
import type { ErrorCode } from '../errors.ts';
import type { WorkflowDocument } from '../records/contract.ts';

export interface NewDataset {
  name: string;
  type: string;
  origin_path: string;
  create_method: 'SCAN' | 'ON_DEMAND' | 'IMPORT' | 'UPLOAD' | 'TEST';
  description?: string;
  project_id?: string;
  metadata?: Record<string, unknown>;
}

/** A dataset and the workflow it starts with: one unit, both or neither. */
export interface Registration {
  dataset: NewDataset;
  /** Made for the dataset id that the catalog assigns; absent: register without a workflow. */
  workflow?: (dataset_id: number) => WorkflowDocument;
}

export type RegisterOutcome =
  | { outcome: 'created'; dataset: Dataset; workflow_id: string | null }
  /** Name and type are taken. `dataset` is the one that has them, with its workflows. */
  | { outcome: 'conflicted'; dataset: Dataset }
  | { outcome: 'errored'; name: string; type: string; error: unknown };

export type DatasetPatch = Partial<
  Pick<
    Dataset,
    | 'name'
    | 'origin_path'
    | 'archive_path'
    | 'staged_path'
    | 'is_deleted'
    | 'is_staged'
    | 'num_files'
    | 'num_directories'
    | 'description'
  >
> & {
  /** A size that is known once is not forgotten: the REST API takes no null for it. */
  du_size?: ByteSize;
  size?: ByteSize;
  /** Merged deeply into what is there. */
  metadata?: Record<string, unknown>;
  /** Upserted; null removes it. */
  bundle?: Bundle | null;
};

export interface DatasetQuery {
  type?: string;
  name?: string;
  match_name_exact?: boolean;
  origin_path?: string;
  /** Default false. */
  deleted?: boolean;
  archived?: boolean;
  staged?: boolean;
  /** is_staged, and no STAGED state for this many days. */
  days_since_last_staged?: number;
  limit?: number;
  offset?: number;
}

export interface CopyToProve extends Omit<BundleCopy, 'finding'> {
  dataset_id: number;
  /** ISO 8601; null for never. */
  looked_at: string | null;
}

/** A copy with what the ledger says of it. */
export interface CopyFixity extends BundleCopy {
  dataset_id: number;
  name: string;
  type: string;
  /** The newest line, whatever it says. */
  last: Proof | null;
}

/** That an archive has a copy of a dataset. */
export interface Holding extends Pick<BundleCopy, 'archive' | 'size' | 'verified_at'> {
  dataset_id: number;
  name: string;
  type: string;
}

/** How full something was, as the facility's front end draws it. */
export interface Metric {
  /** A file system, `sda` or `/N/scratch`; with ` files` behind it when files are counted instead of bytes. */
  measurement: string;
  /** Fully qualified name of the host that measured it. */
  subject: string;
  usage: number;
  /** 0: there is none. */
  limit: number;
  tags: readonly string[];
}

export interface Untold {
  readonly changes: number;
  /** When the first of them was made; null: there is none. */
  readonly since: string | null;
}

/** What a step waits for in its place, as its progress tells it. */
export interface CatalogWait {
  readonly waits: string;
  /** Of the error that would end the step without patience. */
  readonly code: ErrorCode;
  readonly next_attempt_at: string;
}

export interface Catalog {
  readonly capabilities: {
    /** Dataset and workflow are written in one transaction. */
    readonly atomicRegistration: boolean;
    /** Digests that the catalog's contract asks for, on top of config.digests: of every file, and of the bundle. */
    readonly memberDigests: readonly string[];
  };

  /** Every item by itself: one that conflicts or fails does not touch the others. Writes state REGISTERED and an audit entry. */
  register(items: readonly Registration[], actor: string): Promise<RegisterOutcome[]>;
  /** Absent where projects are not known: then any id is kept. @throws E_PROJECT_NOT_FOUND */
  requireProject?(id: string): Promise<void>;
  /** Absent where nobody else has to be told: changes that wait until the facility's API takes them. */
  untold?(): Promise<Untold>;
  /** Attaches a workflow to a dataset that has none of that name; false if it has one. One unit. */
  attachWorkflow(dataset_id: number, workflow: WorkflowDocument): Promise<boolean>;

  /** @throws E_DATASET_NOT_FOUND */
  get(id: number, include?: { bundle?: boolean; states?: boolean; workflows?: boolean }): Promise<Dataset>;
  /** Newest update first; bundles included. */
  list(query: DatasetQuery): Promise<{ count: number; datasets: Dataset[] }>;
  /** @throws E_DATASET_NOT_FOUND, E_DATASET_EXISTS */
  patch(id: number, patch: DatasetPatch): Promise<Dataset>;
  addState(id: number, state: DatasetStateName, metadata?: Record<string, unknown>): Promise<void>;
  states(id: number): Promise<DatasetState[]>;

  /** Upserts by path; the rows are there when the promise resolves. `generation` names this inspection. */
  putFiles(id: number, rows: readonly FileRow[], generation: string): Promise<void>;
  /** Removes rows of other generations: files that are gone. `onWait` is told each time that it has to wait for another system. */
  sweepFiles(id: number, generation: string, onWait?: (wait: CatalogWait) => void): Promise<number>;
  /** One page in path order, after `after`. */
  files(id: number, page: { after?: string; limit: number }): Promise<FileRow[]>;
  /** Those of the named paths that there are, in no certain order. */
  filesAt(id: number, paths: readonly string[]): Promise<FileRow[]>;
  countFiles(id: number): Promise<number>;

  /** Upserts by archive. A copy with other digests, another key or a later `stored_at` than before has not been proven. */
  putCopy(id: number, copy: StoredCopy): Promise<void>;
  /** By the name of the archive. */
  copies(id: number): Promise<BundleCopy[]>;
  removeCopy(id: number, archive: string): Promise<boolean>;
  /**
   * Copies of datasets that are not deleted, the longest unproven first, those never proven before all. One that was
   * read and did not hold counts as looked at, or a few damaged ones would keep their place before all others.
   */
  leastProven(limit: number): Promise<CopyToProve[]>;
  /** Datasets with an archived bundle and no recorded copy: from before copies were recorded. */
  withoutCopies(limit: number): Promise<number[]>;
  /** Copies of datasets that are not deleted, in the order of their last proof that held; `failed`: with an open finding. */
  fixity(query: { dataset_id?: number; failed?: boolean; limit?: number }): Promise<CopyFixity[]>;
  /** The same copies in the same order, without a look at the ledger, which grows for years. */
  holdings(): Promise<Holding[]>;
  /** Adds a line to the fixity ledger, which is only ever added to; one that holds dates the copy's proof. */
  addProof(proof: Proof): Promise<void>;
  /** Newest first. */
  proofs(query: { dataset_id?: number; result?: Proof['result']; limit: number }): Promise<Proof[]>;

  /** Keeps a QC report file's place; answers the path under which it was stored. */
  putReport(id: number, report: { report_id: string; path: string }): Promise<{ path: string }>;
  report(id: number): Promise<{ report_id: string; path: string } | null>;

  /**
   * Ids of all workflows that the facility's own database names, where datasets and workflows are kept apart (a REST API).
   * Absent: what names a workflow here is its dataset.
   */
  namedWorkflows?(): Promise<readonly string[]>;
  /** All of one run at once, for a front end that draws them. Absent: who measures keeps them in the records. */
  putMetrics?(metrics: readonly Metric[]): Promise<void>;

  close(): Promise<void>;
}

/** The part of file rows. */
export type FileCatalog = Pick<Catalog, 'putFiles' | 'sweepFiles' | 'files' | 'filesAt' | 'countFiles'>;

/** The part of copies and of the ledger of their proofs. */
export type CopyCatalog = Pick<
  Catalog,
  | 'putCopy'
  | 'copies'
  | 'removeCopy'
  | 'leastProven'
  | 'withoutCopies'
  | 'fixity'
  | 'holdings'
  | 'addProof'
  | 'proofs'
>;

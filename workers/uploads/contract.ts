/** What uploads need of the facility's API: the state of each, and who is to be told. */

/**
 * UPLOADING → UPLOADED (the browser is done) → VERIFYING → VERIFIED → COMPLETE. The API deletes the dataset of one that
 * comes to UPLOAD_FAILED, VERIFICATION_FAILED or PERMANENTLY_FAILED. It does not hold anybody to this order.
 */
export type UploadStatus =
  | 'UPLOADING'
  | 'UPLOADED'
  | 'VERIFYING'
  | 'VERIFIED'
  | 'COMPLETE'
  | 'UPLOAD_FAILED'
  | 'VERIFICATION_FAILED'
  | 'PERMANENTLY_FAILED'
  | 'PROCESSING'
  | 'PROCESSING_FAILED';

/** What the API keeps of one upload. */
export interface UploadLog {
  readonly dataset_id: number;
  /** A {@link UploadStatus}, or one of a newer API. */
  readonly status: string;
  readonly retry_count: number;
  /** Of the resumable upload that came last; null until the browser says that it is done. */
  readonly process_id: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** ISO 8601. Moves with status and retries; neither with metadata alone nor while bytes arrive. */
  readonly updated_at: string | null;
  readonly dataset: {
    readonly id: number;
    readonly name: string;
    readonly type: string;
    readonly origin_path: string | null;
  };
}

export interface UploadPatch {
  readonly status?: UploadStatus;
  /** Merged into what is there, key by key. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly retry_count?: number;
  /** Linked with the dataset in the same transaction. */
  readonly workflow_id?: string;
}

export interface ListedUpload {
  readonly dataset_id: number;
  readonly dataset_name: string;
}

export interface UploadedDataset {
  readonly is_deleted: boolean;
  /** All that are linked with it, whatever became of them. */
  readonly workflow_ids: readonly string[];
}

export interface Notification {
  readonly type: string;
  readonly label: string;
  readonly text: string;
  readonly role_ids: readonly number[];
  readonly user_ids: readonly number[];
}

/** Every call may fail as the client of the API does: E_API_… of the registry. */
export interface Uploads {
  /** @throws E_UPLOAD_NOT_FOUND the dataset was not uploaded */
  log(dataset_id: number): Promise<UploadLog>;
  patch(dataset_id: number, patch: UploadPatch): Promise<void>;
  /** UPLOADED, VERIFYING and VERIFIED that nobody has touched for half a minute. */
  stalled(): Promise<ListedUpload[]>;
  /** PROCESSING_FAILED, however often it was tried; not those older than so many hours. */
  failed(query: { max_age_hours: number }): Promise<ListedUpload[]>;
  /** UPLOADING that was last touched so many days ago; may be a fraction. */
  expired(query: { age_days: number }): Promise<ListedUpload[]>;
  /** Those that were given up for good, with the folder that they were for. */
  givenUp(): Promise<(ListedUpload & { readonly origin_path: string | null })[]>;
  /** Of the upload's dataset. @throws E_DATASET_NOT_FOUND */
  dataset(dataset_id: number): Promise<UploadedDataset>;
  /** Of a workflow that other software has started; null: it was deleted, or is a very old one, which has none. */
  workflowName(workflow_id: string): Promise<string | null>;
  notify(notification: Notification): Promise<void>;
  close(): void;
}

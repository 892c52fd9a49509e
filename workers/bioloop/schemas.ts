/**
 * The API's answers, as far as they are read: a key that stands nowhere here is let through unread, so that a newer API
 * still is one. 64-bit sizes become `bigint`, dates ISO text; where the reference reads null instead of failing, so do we.
 */
import { z } from 'zod';
import { dateOf, sizeOf } from './encoding.ts';

/** `prefault`: a key that is not there is null too. */
const size = z.unknown().prefault(null).transform(sizeOf);
const date = z.unknown().prefault(null).transform(dateOf);
const text = z.string().nullish().transform(orNull);
const count = z.number().nullish().transform(orNull);
const flag = z
  .boolean()
  .nullish()
  .transform((value) => value ?? false);
const json = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((value) => value ?? {});
/** Ids of a workflow and of a task are text, all others numbers. */
const id = z.int();

function orNull<T>(value: T | null | undefined): T | null {
  return value ?? null;
}

export const bundleAnswer = z.looseObject({
  name: z.string(),
  /** Answered as text, unlike it is sent. */
  size,
  md5: text,
});

export const stateAnswer = z.looseObject({ state: z.string(), timestamp: date, metadata: json });

const auditAnswer = z.looseObject({
  action: z.string(),
  user: z.looseObject({ username: text }).nullish().transform(orNull),
});

export const fileAnswer = z.looseObject({ path: z.string(), md5: text });

/** `[{id}]`, or the whole workflow of the workflow server where it was asked for. */
const linkedWorkflow = z.looseObject({
  id: z.string(),
  name: z.string().nullish(),
  status: z.string().nullish(),
});

export const datasetAnswer = z.looseObject({
  id,
  name: z.string(),
  type: z.string(),
  origin_path: text,
  archive_path: text,
  staged_path: text,
  is_deleted: flag,
  is_staged: flag,
  du_size: size,
  size,
  num_files: count,
  num_directories: count,
  metadata: json,
  description: text,
  create_method: text,
  created_at: date,
  updated_at: date,
  bundle: bundleAnswer.nullish().transform(orNull),
  states: z.array(stateAnswer).optional(),
  workflows: z.array(linkedWorkflow).optional(),
  files: z.array(fileAnswer).optional(),
  audit_logs: z.array(auditAnswer).optional(),
});
export type ApiDataset = z.infer<typeof datasetAnswer>;

export const datasetList = z.looseObject({
  metadata: z.looseObject({ count: z.number() }),
  datasets: z.array(datasetAnswer),
});

/** Of a folder: what has its place below it. */
export const fileList = z.array(z.looseObject({ path: z.string() }));

const named = z.looseObject({ name: z.string(), type: z.string() });
export const bulkAnswer = z.looseObject({
  created: z.array(datasetAnswer),
  conflicted: z.array(named),
  errored: z.array(named),
});
export type BulkAnswer = z.infer<typeof bulkAnswer>;

// uploads
const uploadDataset = { dataset_id: id, dataset_name: z.string() };
const uploadsOf = <T extends z.ZodRawShape>(shape: T) =>
  z.looseObject({
    metadata: z.looseObject({ count: z.number() }).optional(),
    uploads: z.array(z.looseObject({ ...uploadDataset, ...shape })),
  });

export const stalledUploads = uploadsOf({ uploaded_at: date });
export const failedUploads = uploadsOf({ retry_count: z.number(), last_error: text });
export const expiredUploads = uploadsOf({ status: z.string(), age_days: z.number() });
export const uploadsByStatus = uploadsOf({ origin_path: text, status: z.string() });

export const uploadLog = z.looseObject({
  id: id.optional(),
  status: z.string(),
  retry_count: z
    .number()
    .nullish()
    .transform((value) => value ?? 0),
  /** Of the resumable upload: the name of its file below the upload root. */
  process_id: text,
  metadata: json,
  updated_at: date,
  dataset: z
    .looseObject({ id, name: z.string(), type: z.string(), origin_path: text })
    .nullish()
    .transform(orNull),
});
export type UploadLog = z.infer<typeof uploadLog>;
/** Of the dataset it says less than the log does when it is asked for: neither type nor path. */
export const uploadLogPatched = z.looseObject({
  success: z.boolean().optional(),
  upload_log: z.looseObject({ status: z.string() }),
});
export const uploadList = z.looseObject({
  metadata: z.looseObject({ count: z.number() }).optional(),
  uploads: z.array(z.looseObject({ status: z.string().nullish() })),
});

// workflows
const step = z.looseObject({
  name: z.string(),
  task: z.string(),
  status: z.string().nullish(),
  last_task_run: z.unknown().optional(),
  prev_task_runs: z.unknown().optional(),
});
export const workflowAnswer = z.looseObject({
  id: z.string(),
  /** Very old documents have none. */
  name: z.string().nullish(),
  app_id: z.string().nullish(),
  description: z.string().nullish(),
  created_at: text,
  updated_at: text,
  status: z.string().nullish(),
  steps_done: z.number().nullish(),
  total_steps: z.number().nullish(),
  steps: z.array(step).nullish(),
  dataset_id: id.nullish(),
});
export type ApiWorkflow = z.infer<typeof workflowAnswer>;
export const workflowList = z.looseObject({
  metadata: z.looseObject({ total: z.number() }),
  results: z.array(workflowAnswer),
});
export const currentWorkflows = z.array(
  z.looseObject({
    id: z.string(),
    dataset_id: id.nullish(),
    initiator_id: id.nullish(),
    metadata: z.unknown().optional(),
  }),
);
export const startedWorkflow = z.looseObject({ workflow_id: z.string() });
export const processAnswer = z.looseObject({ id });
export const countAnswer = z.looseObject({ count: z.number() });

// the rest
export const reportAnswer = z.looseObject({ path: z.string() });
/** A project's id is a UUID there; older servers number them. */
export const projectAnswer = z.looseObject({
  id: z.union([z.string(), z.number()]).transform(String),
  name: z.string(),
  datasets: z.array(z.unknown()).optional(),
});
export type ApiProject = z.infer<typeof projectAnswer>;
export const projectList = z.looseObject({ projects: z.array(projectAnswer) });

/**
 * What goes in and out, as schemas; the types of the code, the checks of requests and the OpenAPI page are made from
 * these. Answers are strict: they are the contract that the reference's API and UI read.
 */
import { z } from 'zod';
import * as field from './fields.ts';

const date = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
  .describe('UTC, six digits of a second');
const taskStatus = z.enum(['PENDING', 'STARTED', 'SUCCESS', 'FAILURE', 'RETRY', 'REVOKED']);
const workflowStatus = z.enum(['PENDING', 'STARTED', 'SUCCESS', 'FAILURE', 'REVOKED']);

const taskRun = z.strictObject({
  _id: z.string().describe('task id'),
  status: taskStatus,
  result: z
    .unknown()
    .describe(
      'STARTED: the progress object (time_remaining_sec is 1e100 while nobody knows it), or {pid, hostname}; SUCCESS: what the task returned; FAILURE, RETRY, REVOKED: {exc_type, exc_message, exc_module}',
    ),
  traceback: z.string().nullable(),
  children: z.array(z.unknown()),
  date_done: date.nullable(),
  name: z.string().describe('task name'),
  args: z.array(z.unknown()),
  kwargs: z.record(z.string(), z.unknown()).describe('with workflow_id, step and app_id'),
  worker: z.string(),
  retries: z.int().min(0),
  queue: z.string(),
  parent_id: z.string().optional(),
  date_start: date.nullable(),
});

const step = z.strictObject({
  name: z.string(),
  task: z.string(),
  status: taskStatus,
  last_task_run: taskRun.nullable().optional().describe('null: it has not begun'),
  prev_task_runs: z.array(taskRun).optional().describe('oldest first'),
});

export const workflow = z.strictObject({
  id: z.string(),
  name: z.string().nullable().describe('null, as app_id, in very old documents'),
  app_id: z.string().nullable(),
  description: z.string().nullable(),
  created_at: date.nullable(),
  updated_at: date.nullable(),
  status: workflowStatus.describe('derived from the runs of its steps'),
  steps_done: z.int().min(0).describe('position of the step that is next or runs'),
  total_steps: z.int().min(0),
  steps: z.array(step),
  resume_lock: date.nullable(),
});

export type WireRun = z.output<typeof taskRun>;
export type WireStep = z.output<typeof step>;
export type WireWorkflow = z.output<typeof workflow>;

export const page = z.strictObject({
  metadata: z.strictObject({
    total: z.int().min(0),
    limit: z.int().min(0).describe('as it was applied'),
    skip: z.int().min(0),
  }),
  results: z.array(workflow),
});

export const counts = z.strictObject({
  PENDING: z.int(),
  STARTED: z.int(),
  FAILURE: z.int(),
  REVOKED: z.int(),
  SUCCESS: z.int(),
});

export const created = z.strictObject({ workflow_id: z.string() });
export const paused = z.strictObject({
  paused: z.boolean(),
  revoked_step: z
    .strictObject({ task_id: z.string(), task: z.string(), name: z.string() })
    .optional()
    .describe('when paused'),
});
export const resumed = z.strictObject({
  resumed: z.boolean(),
  restarted_step: z.strictObject({ name: z.string(), task: z.string() }).optional().describe('when resumed'),
});
export const deleted = z.strictObject({ deleted_count: z.int().min(0).max(1) });
export const stepNames = z.array(z.string());
export const health = z.strictObject({ health: z.literal('OK') });

/** Of 401, and of addresses that are not there. */
export const refusal = z.strictObject({ detail: z.string() });
/** Of 400, 404 and 413. */
export const complaint = z.strictObject({ message: z.string() });
/** Of 409 and 5xx: with a code of docs/errors.md where there is one, and what to do about it. */
export const failure = z.strictObject({
  message: z.string(),
  code: z.string().optional(),
  hint: z.string().optional(),
});
/** Of 422. */
export const invalid = z.strictObject({
  detail: z.array(
    z.strictObject({
      type: z.string(),
      loc: z.array(z.union([z.string(), z.number()])),
      msg: z.string(),
    }),
  ),
});

const GROUPS =
  'PENDING, STARTED, SUCCESS, FAILURE, REVOKED; DONE = SUCCESS, FAILURE, REVOKED; ACTIVE = PENDING, STARTED; EXCEPTION = FAILURE, REVOKED';
const runFlags = {
  last_task_run: field.flag(true, { description: 'the last run of each step' }),
  prev_task_runs: field.flag(false, { description: 'the earlier runs of each step' }),
};

export const workflowParams = z.object({ id: z.string().describe('workflow id') });
export const workflowQuery = z.object(runFlags);

export const listQuery = z.object({
  ...runFlags,
  status: field.oneOf(
    ['PENDING', 'STARTED', 'SUCCESS', 'FAILURE', 'REVOKED', 'DONE', 'ACTIVE', 'EXCEPTION'],
    { description: GROUPS },
  ),
  app_id: field.text({ description: 'only of this application' }),
  workflow_id: field.list({ description: 'only these; repeat it. Ids that are not known are no error' }),
  workflow_name: field.text({ description: 'only of this name' }),
  skip: field.whole(0, { description: 'leave out so many' }),
  limit: field.whole(10, {
    description: 'at most so many; 0, or more than gateway.page_limit: as many as that',
  }),
  sort_by: field.text({ description: 'ignored: always by created_at' }),
  sort_order_asc: field.flag(false, { description: 'oldest first' }),
});
export type ListQuery = z.output<typeof listQuery>;

export const countsQuery = z.object({
  app_id: field.text({ description: 'without it only workflows are counted that have none' }),
});
export const tasksQuery = z.object({ app_id: field.required({ description: 'required, and ignored' }) });
export const resumeQuery = z.object({
  force: field.flag(false, { description: 'also a step that runs or has never run' }),
});

const args = z.array(z.unknown());

/** The others stay: they are not ours to drop. */
export const createHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe('a repeated request with the same key answers the same id, and starts nothing twice'),
});

export const createBody = z.object({
  name: z.string(),
  description: z.string().nullish(),
  app_id: z.string(),
  steps: z
    .array(
      z.object({
        name: z.string(),
        task: z.string(),
        queue: z.string(),
        kwargs: z.record(z.string(), z.unknown()).nullish(),
      }),
    )
    .describe('other keys of a step are dropped'),
  args: args.describe('positional arguments of the first step: [dataset id]'),
});
export type CreateBody = z.output<typeof createBody>;

export const resumeBody = z.object({
  args: args
    .nullish()
    .describe('for a step that has never begun; one that has is run again with those of its last run'),
});

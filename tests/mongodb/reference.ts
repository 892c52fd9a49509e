/** Documents as the reference writes them: its fields and types, and none of ours. */
import { randomUUID } from 'node:crypto';
import { type Db, type Document, MongoClient } from 'mongodb';
import { inject, onTestFinished } from 'vitest';
import type { Config } from '../../config/index.ts';

export const STARTED_AT = new Date('2024-01-02T03:04:05.678Z');

export interface ReferenceStep {
  name: string;
  /** Of its runs, oldest first; `gone`: the task document is not there. */
  runs?: ('SUCCESS' | 'FAILURE' | 'STARTED' | 'RETRY' | 'REVOKED' | 'gone')[];
  kwargs?: Record<string, unknown>;
}

/** The database of a place, as the reference has it open. */
export function referenceDatabase({ mongodb }: Config): Db {
  const client = new MongoClient(inject('mongodb'));
  onTestFinished(() => client.close());
  return client.db(mongodb.database ?? '');
}

/** A workflow on dataset 7 and its tasks; answers its id. What is undefined in `given` is left out of the document. */
export async function insertReference(
  db: Db,
  steps: readonly ReferenceStep[],
  given: Document = {},
): Promise<string> {
  const _id = String(given._id ?? randomUUID());
  const tasks: Document[] = [];
  const common = {
    name: 'integrated',
    app_id: 'longshore-test',
    description: null,
    _status: 'STARTED',
    queue: 'longshore-test.q',
    task: 'drill',
    args: [7],
  };
  const { queue, task, args, ...head } = { ...common, ...given };
  const stepDocuments = steps.map(({ name, runs = [], kwargs = {} }) => {
    const task_runs = runs.map((status) => {
      const task_id = randomUUID();
      if (status !== 'gone')
        tasks.push(taskOf({ task_id, status, name, kwargs, task, queue, args }, _id, head));
      return { date_start: STARTED_AT, task_id };
    });
    return { name, task, queue, kwargs, ...(runs.length === 0 ? {} : { task_runs }) };
  });
  const options = { ignoreUndefined: true };
  await db
    .collection('workflow_meta')
    .insertOne({ ...head, _id, created_at: STARTED_AT, steps: stepDocuments } as never, options);
  if (tasks.length > 0) await db.collection('celery_taskmeta').insertMany(tasks, options);
  return _id;
}

const RESULTS: Readonly<Record<string, string>> = {
  SUCCESS: '[7, []]',
  FAILURE: '{"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}',
  RETRY: '{"exc_type": "OSError", "exc_message": ["no"], "exc_module": "builtins"}',
  REVOKED:
    '{"exc_type": "TaskRevokedError", "exc_message": ["terminated"], "exc_module": "celery.exceptions"}',
  STARTED: '{"pid": 4711, "hostname": "celery@node"}',
};

function taskOf(
  { task_id, status, name, kwargs, task, queue, args }: Document,
  workflow_id: string,
  { app_id }: Document,
): Document {
  const ended = status !== 'STARTED' && status !== 'RETRY';
  return {
    _id: task_id,
    status,
    result: RESULTS[status],
    traceback: null,
    children: [],
    date_done: ended ? '2024-01-02T03:05:06.789012' : null,
    name: task,
    args,
    kwargs: { ...kwargs, workflow_id, step: name, app_id },
    worker: 'celery@node',
    retries: 0,
    queue,
  };
}

/** New workflows, and how of two for one dataset only one is made. */
import { type Filter, ObjectId } from 'mongodb';
import { change, insertOnce, type Versioned } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { hideIfGone } from '../../mongodb/gone.ts';
import type { WorkflowDocument } from '../contract.ts';
import { recordOf, type WorkflowRecord, workflowOf } from './documents.ts';
import { assertReadable } from './readable.ts';
import { readWorkflow, workflowsOf } from './settle.ts';

export const newRecord = (workflow: WorkflowDocument): WorkflowRecord => ({
  ...recordOf(workflow),
  order: new ObjectId(),
  rev: 1,
});

/** An id that exists is left as it is. */
export const insertWorkflow = (mongo: Mongo, workflow: WorkflowDocument): Promise<void> =>
  insertOnce(mongo, workflowsOf(mongo), newRecord(workflow));

/** Who starts alone on a dataset, by its id. It holds the whole workflow until that is made: a crash loses no start. */
interface Start extends Versioned {
  _id: number;
  workflow_id: string;
  workflow: WorkflowRecord | null;
}

const startsOf = (mongo: Mongo) => mongo.collection<Start>('longshore_starts');

/** Null finds documents without the field. */
export const THERE = { deleting: null } as unknown as Filter<WorkflowRecord>;

export const LIVE = {
  $or: [
    { _status: { $in: ['PENDING' as const, 'STARTED' as const] } },
    { resume_lock: { $gt: new Date(0) } },
  ],
};

const isLive = (workflow: WorkflowRecord | null): workflow is WorkflowRecord =>
  workflow !== null &&
  (workflow._status === 'PENDING' || workflow._status === 'STARTED' || Boolean(workflow.resume_lock));

/** One that nobody can read may be at work, too: it is in the way until somebody puts it right or removes it. */
function whole(other: WorkflowRecord): WorkflowDocument {
  assertReadable(other);
  return workflowOf(other);
}

/** Answers the live workflow that is in the way; null when this one is made. @throws E_WORKFLOW_UNREADABLE */
export async function startAlone(mongo: Mongo, workflow: WorkflowDocument): Promise<WorkflowDocument | null> {
  const { id, dataset_id } = workflow;
  if (dataset_id === null) {
    await insertWorkflow(mongo, workflow);
    return null;
  }
  const other = await mongo.run(() =>
    workflowsOf(mongo).findOne({ ...THERE, ...LIVE, dataset_id, _id: { $ne: id } }, { sort: { order: 1 } }),
  );
  if (other !== null) return whole(other);
  const holder = await change<Start, WorkflowRecord | null>(
    mongo,
    startsOf(mongo),
    dataset_id,
    async (start) => {
      const held = start === null || start.workflow_id === id ? null : await madeBy(mongo, start);
      if (isLive(held)) return { answer: held };
      return { answer: null, set: { workflow_id: id, workflow: newRecord(workflow) } };
    },
  );
  if (holder !== null) return whole(holder);
  await insertWorkflow(mongo, workflow);
  await mongo.run(() =>
    startsOf(mongo).updateOne({ _id: dataset_id, workflow_id: id }, { $set: { workflow: null } }),
  );
  return null;
}

/** The workflow of a start, made now if whoever decided it has not come so far. */
async function madeBy(mongo: Mongo, { workflow_id, workflow }: Start): Promise<WorkflowRecord | null> {
  if (workflow !== null) {
    await insertOnce(mongo, workflowsOf(mongo), workflow);
    await hideIfGone(mongo, workflowsOf(mongo), workflow_id);
  }
  return readWorkflow(mongo, workflow_id);
}

/** What is deleted must not be made again by the next one who starts. */
export async function forgetStart(
  mongo: Mongo,
  workflow_id: string,
  dataset_id: number | null,
): Promise<void> {
  if (dataset_id === null) return;
  await mongo.run(() =>
    startsOf(mongo).updateOne({ _id: dataset_id, workflow_id }, { $set: { workflow: null } }),
  );
}

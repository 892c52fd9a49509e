/**
 * Workflows that are deleted. The mark decides: from then on there is no such workflow for anybody. Its document goes last,
 * because it names all others; a deletion that was cut off is finished by the next look at the live ones.
 */
import { change, read } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { forgetGone, noteGone } from '../../mongodb/gone.ts';
import { deliver } from '../../mongodb/outbox.ts';
import type { Records, RunningAttempt } from '../contract.ts';
import type { WorkflowRecord } from './documents.ts';
import { deleteLogs } from './logs.ts';
import { attemptsOf } from './losses.ts';
import { forgetStart } from './new.ts';
import { oddityOf } from './readable.ts';
import { revokeRun } from './revoke.ts';
import { allTaskIdsOf, runsOf } from './runs.ts';
import { workflowsOf } from './settle.ts';

export const deletionRecords = (mongo: Mongo): Pick<Records, 'deleteWorkflow' | 'discardUnreadable'> => ({
  deleteWorkflow: (id, options = {}) => deleteWorkflow(mongo, id, options),
  discardUnreadable: (id) => discard(mongo, id),
});

async function deleteWorkflow(
  mongo: Mongo,
  id: string,
  { unless_running = false }: { unless_running?: boolean },
): Promise<number> {
  const marked = await change<WorkflowRecord, WorkflowRecord | null>(
    mongo,
    workflowsOf(mongo),
    id,
    (workflow) =>
      workflow === null || workflow.deleting === true || (unless_running && isRunning(workflow))
        ? { answer: null }
        : { answer: workflow, set: { deleting: true } },
  );
  if (marked === null) return 0;
  await removeMarked(mongo, marked);
  return 1;
}

const isRunning = ({ _status, resume_lock = null }: WorkflowRecord): boolean =>
  _status === 'STARTED' || resume_lock !== null;

/** Its runs are revoked before they go, so that what still runs may publish nothing. */
async function discard(mongo: Mongo, id: string): Promise<RunningAttempt[] | null> {
  await mongo.run(() => workflowsOf(mongo).updateOne({ _id: id }, { $set: { deleting: true } }));
  const marked = await read(mongo, workflowsOf(mongo), id);
  if (marked === null) return null;
  const running: RunningAttempt[] = [];
  for (const task_id of await taskIdsThatName(mongo, id)) {
    const attempt = await revokeRun(mongo, task_id, { reason: 'its workflow was removed as unreadable' });
    if (attempt !== null) running.push(attempt);
  }
  await removeMarked(mongo, marked);
  return running;
}

/** A run that was written between the reading of its workflow and the deletion of that. */
export async function takeBack(mongo: Mongo, task_id: string): Promise<void> {
  await mongo.run(() => runsOf(mongo).deleteOne({ _id: task_id }));
  await mongo.run(() => attemptsOf(mongo).deleteMany({ task_id }));
}

export async function finishDeletions(mongo: Mongo): Promise<void> {
  const marked = await mongo.run(() => workflowsOf(mongo).find({ deleting: true }).limit(1000).toArray());
  for (const workflow of marked) await removeMarked(mongo, workflow);
  await forgetGone(mongo);
}

async function removeMarked(mongo: Mongo, workflow: WorkflowRecord): Promise<void> {
  const { _id } = workflow;
  const ids = oddityOf(workflow) === null ? allTaskIdsOf(workflow) : await taskIdsThatName(mongo, _id);
  // What was decided and is not in its place yet, as the workflows that follow, is no part of what goes.
  await deliver(mongo, workflowsOf(mongo), workflow);
  for (const run of await undelivered(mongo, ids)) await deliver(mongo, runsOf(mongo), run);
  await forgetStart(mongo, _id, workflow.dataset_id ?? null);
  await deleteLogs(mongo, _id);
  await mongo.run(() => attemptsOf(mongo).deleteMany({ task_id: { $in: ids } }));
  await mongo.run(() => runsOf(mongo).deleteMany({ _id: { $in: ids } }));
  await noteGone(mongo, _id);
  await mongo.run(() => workflowsOf(mongo).deleteOne({ _id }));
}

const undelivered = (mongo: Mongo, ids: readonly string[]) =>
  mongo.run(() =>
    runsOf(mongo)
      .find({ _id: { $in: [...ids] }, outbox: { $exists: true } })
      .toArray(),
  );

/** Where the workflow cannot say which runs are its own. They are looked for without an index: it is a rare question. */
async function taskIdsThatName(mongo: Mongo, workflow_id: string): Promise<string[]> {
  const found = await mongo.run(() =>
    runsOf(mongo)
      .find({ 'kwargs.workflow_id': workflow_id }, { projection: { _id: 1 } })
      .toArray(),
  );
  return found.map(({ _id }) => _id);
}

import { isLongshoreError } from '../errors.ts';
import type { Ground } from './queue-reach.ts';
import { enqueue } from './reconcile.ts';
import { stop, stopProcess } from './stop.ts';

export interface Deletion {
  actor: string;
  unless_running?: boolean;
}

export async function deleteWorkflow(
  ground: Ground,
  id: string,
  deletion: Deletion,
): Promise<{ deleted_count: number }> {
  try {
    return await deleteReadable(ground, id, deletion);
  } catch (error) {
    const isUnreadable = isLongshoreError(error) && error.code === 'E_WORKFLOW_UNREADABLE';
    if (!isUnreadable || deletion.unless_running === true) throw error;
    return discard(ground, id, deletion.actor, error.fields);
  }
}

async function deleteReadable(
  ground: Ground,
  id: string,
  { actor, unless_running = false }: Deletion,
): Promise<{ deleted_count: number }> {
  const { records } = ground.store;
  const workflow = await records.workflow(id);
  if (workflow === null) return { deleted_count: 0 };
  const { chains } = await ground.side();
  if (!unless_running) await stop(ground, id, { actor, take_out: true });
  else if (workflow._status === 'STARTED' || workflow.resume_lock !== null) return { deleted_count: 0 };
  // The queue first: a job without a record would lie there for ever once its workflow has failed.
  else await chains.remove(workflow);
  const deleted_count = await records.deleteWorkflow(id, { unless_running });
  // Begun or resumed in between: it stays, and so does its place in the queue.
  if (deleted_count === 0) await enqueue(id, records, chains);
  else await records.audit({ actor, action: 'workflow.delete', subject: `workflow:${id}`, details: {} });
  return { deleted_count };
}

/** Nobody can tell what is queued of it; a worker drops such a job, as of every workflow that is not recorded. */
async function discard(
  ground: Ground,
  id: string,
  actor: string,
  { oddity }: Record<string, unknown>,
): Promise<{ deleted_count: number }> {
  const { records } = ground.store;
  const running = (await records.discardUnreadable?.(id)) ?? null;
  if (running === null) return { deleted_count: 0 };
  for (const attempt of running) await stopProcess(ground, attempt, 'deleted');
  const subject = `workflow:${id}`;
  await records.audit({ actor, action: 'workflow.delete', subject, details: { oddity } });
  return { deleted_count: 1 };
}

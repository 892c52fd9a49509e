/** Resumes a workflow, also one that is neither failed nor stopped and yet does not run. */
import type { Engine } from '../workflows/engine.ts';
import { isRedisAway, type Within } from './deadline.ts';
import type { OperationParts, ResumeReply } from './operation-parts.ts';
import { isLocked } from './wire.ts';

export interface Resume {
  actor: string;
  force: boolean;
  args?: unknown[];
}

/** @throws E_WORKFLOW_NOT_FOUND, E_REDIS_UNAVAILABLE */
export async function resume(
  parts: OperationParts,
  within: Within,
  id: string,
  options: Resume,
): Promise<ResumeReply> {
  const { engine } = parts;
  await engine.ready();
  try {
    const { resumed, restarted_step } = await within(engine.resume(id, options));
    if (!resumed) return await within(requeue(parts, id, options.actor));
    return { resumed, ...(restarted_step === undefined ? {} : { restarted_step }) };
  } catch (error) {
    const reply = isRedisAway(error) ? await recorded(parts, id) : null;
    if (reply === null) throw error;
    parts.log.warn({ workflow_id: id }, 'resumed while Redis went away; it is queued when Redis is well');
    return reply;
  }
}

/** The lock tells that the resume stands in the records; what is missing in the queue follows from there. */
async function recorded({ config, engine }: OperationParts, id: string): Promise<ResumeReply | null> {
  const workflow = await engine.show(id, { last_task_run: false });
  if (!isLocked(workflow, config.workflow.resume_lock_seconds)) return null;
  return replyOf(workflow);
}

function replyOf({ steps, steps_done }: Awaited<ReturnType<Engine['show']>>): ResumeReply {
  const step = steps[steps_done];
  if (step === undefined) return { resumed: false };
  return { resumed: true, restarted_step: { name: step.name, task: step.task } };
}

/**
 * Resumes what neither failed nor was stopped, and yet does not run, because its entry in the queue is missing. The
 * reference's UI could not: it never sends `force`, and a workflow that had come to a halt between two steps stayed there.
 * Idempotent: of many who ask at once one puts it back.
 */
async function requeue(
  { config, engine, records }: OperationParts,
  id: string,
  actor: string,
): Promise<ResumeReply> {
  const workflow = await engine.show(id, { last_task_run: false });
  // Another resume is on its way, and puts it there itself.
  if (isLocked(workflow, config.workflow.resume_lock_seconds)) return { resumed: false };
  const reply = replyOf(workflow);
  if (!reply.resumed) return reply;
  const outcome = await engine.enqueue(id);
  if (outcome !== 'added' && outcome !== 'retried') return { resumed: false };
  const details = { step: reply.restarted_step?.name, queue: outcome };
  await records.audit({ actor, action: 'workflow.requeue', subject: `workflow:${id}`, details });
  return reply;
}

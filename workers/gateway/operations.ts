/**
 * What a request does to a workflow. Redis is asked for an answer before anything is changed, so that a request that is
 * refused with 503 has changed nothing; should Redis go away in between, what stands in the records by then counts.
 */
import { LongshoreError } from '../errors.ts';
import { type Creator, create } from './creation.ts';
import { isRedisAway, type Within, within as giveUpAfter } from './deadline.ts';
import type { OperationParts, PauseReply, ResumeReply } from './operation-parts.ts';
import { type Resume, resume } from './resuming.ts';
import type { CreateBody } from './shapes.ts';

export interface Operations {
  /**
   * Records a new workflow and starts it; answers its id. With a key a repeated request is the same request: it answers the
   * same id, and starts nothing twice.
   * @throws E_WORKFLOW_STATE when the key was used for another workflow
   */
  create(body: CreateBody, from: Creator): Promise<string>;
  pause(id: string, actor: string): Promise<PauseReply>;
  resume(id: string, options: Resume): Promise<ResumeReply>;
  delete(id: string, actor: string): Promise<{ deleted_count: number }>;
}

const STUCK_SECONDS = 20;

export function createOperations(parts: OperationParts): Operations {
  const { engine, config, stuck_seconds = STUCK_SECONDS } = parts;
  const within = giveUpAfter(config.task.kill_grace_seconds + stuck_seconds);
  return {
    create: (body, from) => create(parts, within, body, from),
    pause: async (id, actor) => {
      await engine.ready();
      const { paused, revoked_step } = await within(engine.pause(id, { actor }));
      return { paused, ...(revoked_step === undefined ? {} : { revoked_step }) };
    },
    resume: (id, options) => resume(parts, within, id, options),
    delete: (id, actor) => remove(parts, within, id, actor),
  };
}

async function remove({ engine }: OperationParts, within: Within, id: string, actor: string) {
  await engine.ready();
  try {
    return await within(engine.delete(id, { actor }));
  } catch (error) {
    if (!isRedisAway(error)) throw error;
    const message = `workflow ${id} may be stopped already, and is not deleted yet: ${(error as Error).message}`;
    const hint = 'Delete it again when Redis is well; it does not go on by itself.';
    throw new LongshoreError('E_REDIS_UNAVAILABLE', message, { hint, cause: error });
  }
}

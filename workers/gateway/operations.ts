/**
 * What a request does to a workflow. Redis is asked for an answer before anything is changed: a request that is refused
 * with 503 has changed nothing, and may be repeated.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../../config/index.ts';
import { coerceError, LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Records, WorkflowDocument } from '../records/contract.ts';
import { buildWorkflow } from '../workflows/definition.ts';
import type { Engine } from '../workflows/engine.ts';
import { stableId } from '../workflows/stable-id.ts';
import type { CreateBody } from './shapes.ts';
import { isLocked } from './wire.ts';

export interface Operations {
  /**
   * Records a new workflow and starts it; answers its id. With `key` a repeated request is the same request: it answers the
   * same id, and starts nothing twice.
   * @throws E_WORKFLOW_STATE when the key was used for another workflow
   */
  create(body: CreateBody, from: { actor: string; key?: string | undefined }): Promise<string>;
  pause(id: string, actor: string): Promise<PauseReply>;
  resume(id: string, options: { actor: string; force: boolean; args?: unknown[] }): Promise<ResumeReply>;
  delete(id: string, actor: string): Promise<{ deleted_count: number }>;
}

interface PauseReply {
  paused: boolean;
  revoked_step?: { task_id: string; task: string; name: string };
}

interface ResumeReply {
  resumed: boolean;
  restarted_step?: { name: string; task: string };
}

export interface OperationParts {
  config: Config;
  engine: Engine;
  records: Records;
  log: Logger;
  /** So long beyond what stopping a process may take: a call that has not come back waits for a Redis that went away. */
  stuck_seconds?: number | undefined;
}

const STUCK_SECONDS = 20;

export function createOperations(parts: OperationParts): Operations {
  const { engine } = parts;
  const within = deadline(parts.config, parts.stuck_seconds ?? STUCK_SECONDS);
  return {
    create: (body, from) => create(parts, within, body, from),
    pause: async (id, actor) => {
      await engine.ready();
      const { paused, revoked_step } = await within(engine.pause(id, { actor }));
      return { paused, ...(revoked_step === undefined ? {} : { revoked_step }) };
    },
    resume: async (id, options) => {
      await engine.ready();
      const { resumed, restarted_step } = await within(engine.resume(id, options));
      if (!resumed) return within(requeue(parts, id, options.actor));
      return { resumed, ...(restarted_step === undefined ? {} : { restarted_step }) };
    },
    delete: async (id, actor) => {
      await engine.ready();
      return within(engine.delete(id, { actor }));
    },
  };
}

type Within = <T>(work: Promise<T>) => Promise<T>;

function deadline({ task }: Config, stuck_seconds: number): Within {
  const seconds = task.kill_grace_seconds + stuck_seconds;
  return async (work) => {
    const waiting = new AbortController();
    const late = sleep(seconds * 1000, undefined, { signal: waiting.signal }).then(
      () => {
        throw new LongshoreError(
          'E_REDIS_UNAVAILABLE',
          `Redis went away and was not back within ${seconds} s`,
          {
            hint: 'The records hold what was asked for; the queue follows when Redis is back. Look before you repeat it.',
          },
        );
      },
      () => undefined as never,
    );
    // Given up, not stopped: it is carried out when Redis is back, and its failure is nobody's any more.
    work.catch(() => undefined);
    try {
      return await Promise.race([work, late]);
    } finally {
      waiting.abort();
    }
  };
}

async function create(
  { config, engine, records, log }: OperationParts,
  within: Within,
  { name, description, app_id, steps, args }: CreateBody,
  { actor, key }: Parameters<Operations['create']>[1],
): Promise<string> {
  await engine.ready();
  const id = key === undefined ? randomUUID() : stableId(`request\0${actor}\0${key}`);
  const definition = {
    name,
    app_id,
    description: description ?? null,
    steps: steps.map(({ kwargs, ...step }) => ({ ...step, ...(kwargs ? { kwargs } : {}) })),
  };
  const start = { id, args, dataset_id: datasetOf(args), initiator: actor };
  const refuseOther = async (): Promise<void> => {
    if (key !== undefined) await refuseAnother(records, buildWorkflow(config, definition, start));
  };
  await refuseOther();
  if (app_id !== config.app_id)
    log.warn(
      { workflow_id: id, app_id, own: config.app_id },
      'a workflow of another application; only workers that serve its queues will run it',
    );
  try {
    const alongside = !config.gateway.refuse_second;
    const started = await within(engine.start(definition, { ...start, alongside }));
    await refuseOther(); // Of two at the same moment the records took one.
    return started.id;
  } catch (error) {
    // Recorded: it runs as soon as there is a Redis. Who is told of a failure would start another one.
    if (coerceError(error).code !== 'E_REDIS_UNAVAILABLE' || (await records.workflow(id)) === null)
      throw error;
    log.warn({ workflow_id: id }, 'recorded while Redis went away; it is queued when Redis is back');
    return id;
  }
}

async function refuseAnother(records: Records, asked: WorkflowDocument): Promise<void> {
  const known = await records.workflow(asked.id);
  if (known === null || isDeepStrictEqual(requestOf(known), requestOf(asked))) return;
  throw new LongshoreError(
    'E_WORKFLOW_STATE',
    `this Idempotency-Key was used before, for another workflow (${known.id}, "${known.name}")`,
    {
      fields: { workflow_id: known.id },
      hint: 'Use a new key for each workflow, and the same one only to repeat a request.',
    },
  );
}

/** What a request says of a workflow, without what became of it since. */
const requestOf = ({ name, app_id, description, args, steps }: WorkflowDocument) => ({
  name,
  app_id,
  description,
  args,
  steps: steps.map(({ name: step, task, queue, kwargs }) => ({ step, task, queue, kwargs })),
});

/** By the contract the first argument is the dataset's id; other kinds of workflows belong to no dataset. */
function datasetOf([first]: readonly unknown[]): number | null {
  return typeof first === 'number' && Number.isSafeInteger(first) && first > 0 ? first : null;
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
  const step = workflow.steps[workflow.steps_done];
  // Another resume is on its way, and puts it there itself.
  if (isLocked(workflow, config.workflow.resume_lock_seconds) || step === undefined)
    return { resumed: false };
  const outcome = await engine.enqueue(id);
  if (outcome !== 'added' && outcome !== 'retried') return { resumed: false };
  const details = { step: step.name, queue: outcome };
  await records.audit({ actor, action: 'workflow.requeue', subject: `workflow:${id}`, details });
  return { resumed: true, restarted_step: { name: step.name, task: step.task } };
}

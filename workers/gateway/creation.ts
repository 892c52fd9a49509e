/** Starts a workflow once, whatever happens in between. */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { LongshoreError } from '../errors.ts';
import type { Records, WorkflowDocument } from '../records/contract.ts';
import { buildWorkflow } from '../workflows/definition.ts';
import { stableId } from '../records/stable-id.ts';
import { isRedisAway, type Within } from './deadline.ts';
import type { OperationParts } from './operation-parts.ts';
import type { CreateBody } from './shapes.ts';

export interface Creator {
  actor: string;
  /** What the caller calls this request; repeated with it, it is the same request. */
  key?: string | undefined;
}

/** @throws E_WORKFLOW_INVALID, E_WORKFLOW_STATE, E_REDIS_UNAVAILABLE */
export async function create(
  { config, engine, records, log }: OperationParts,
  within: Within,
  { name, description, app_id, steps, args }: CreateBody,
  { actor, key }: Creator,
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
    if (!isRedisAway(error) || (await records.workflow(id)) === null) throw error;
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

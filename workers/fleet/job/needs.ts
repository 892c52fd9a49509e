/** What a step needs of the resources that the whole fleet shares (config.resources), taken before it is begun. */
import type { Job } from 'bullmq';
import type { JobData } from '../../queue/jobs.ts';
import { createPermits } from '../../queue/permits.ts';
import { standInLine, wakeNext } from '../../queue/waiting-line.ts';
import type { WorkflowStep } from '../../records/contract.ts';
import type { WorkerParts } from './attempt.ts';

export type Needs =
  | { granted: true; release: () => Promise<void> }
  /** The step waits without a slot, a process or an attempt. */
  | { granted: false; resource: string; limit: number };

const NOTHING: Needs = { granted: true, release: async () => undefined };

/**
 * Before the claim and the process: of a thousand jobs that wait for two drives, each look costs two calls of Redis.
 * A worker that dies gives back when its lock on the job would have run out.
 */
export async function takeNeeds(parts: WorkerParts, job: Job<JobData>): Promise<Needs> {
  const { config, side, log, name } = parts;
  const step = Object.keys(config.resources).length === 0 ? null : await stepOf(parts, job.data);
  const wanted = limitsOf(config.resources, step?.needs ?? []);
  if (step === null || wanted.size === 0) return NOTHING;
  const { workflow_id } = job.data;
  const { prefix } = config.queue;
  const permits = createPermits(side.redis, {
    prefix,
    holder: job.id ?? '',
    hold_ms: config.queue.lock_seconds * 1000,
    about: { workflow_id, step: step.name, worker: name, since: new Date().toISOString() },
    onError: (error) => {
      if (!side.refusals.met(error)) log.warn({ err: error, workflow_id }, 'a permit could not be renewed');
    },
    onLost: (resource, limit) =>
      log.error(
        { workflow_id, resource, limit },
        'the permit of a step ran out; others hold it, and it goes on',
      ),
  });
  const line = { redis: side.redis, queues: side.queues, prefix };
  const full = await permits.takeAll(wanted);
  if (full !== null) {
    await standInLine(line, full, job);
    return { granted: false, resource: full, limit: wanted.get(full) ?? 0 };
  }
  const release = async (): Promise<void> => {
    for (const resource of await permits.end()) await wakeNext(line, resource);
  };
  return {
    granted: true,
    release: () =>
      // What cannot be given back now runs out, and those that wait look again by themselves.
      release().catch((error: unknown) => log.warn({ err: error }, 'a permit could not be given back')),
  };
}

/** A limit that the configuration has no more is none. */
function limitsOf(
  resources: Readonly<Record<string, number>>,
  needs: readonly string[],
): ReadonlyMap<string, number> {
  const named = needs.filter((need) => Object.hasOwn(resources, need));
  return new Map(named.map((need) => [need, resources[need] ?? 0]));
}

/** Null when the records are away: the claim that follows says so, and the job is looked at again. */
async function stepOf({ store }: WorkerParts, { workflow_id, index }: JobData): Promise<WorkflowStep | null> {
  const workflow = await store.records.workflow(workflow_id).catch(() => null);
  return workflow?.steps[index] ?? null;
}

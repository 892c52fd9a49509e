import type { Config } from '../../config/index.ts';
import type { LongshoreError } from '../errors.ts';
import { whyUnfit } from '../queue/fitness.ts';
import type { SeenWorker } from '../queue/registry.ts';
import type { QueueSide } from '../queue/side.ts';
import type { WorkflowDocument } from '../records/contract.ts';
import { configuredQueues } from './definition.ts';

/** Who works, and what lies in every queue that is configured or served. */
export interface FleetView {
  readonly workers: SeenWorker[];
  readonly queues: QueueView[];
  /** Jobs by BullMQ's states, of all queues. */
  readonly jobs: Record<string, number>;
  /** Why this Redis may drop jobs; null when it keeps them. */
  readonly unfit: LongshoreError | null;
}

export interface QueueView {
  readonly name: string;
  readonly paused: boolean;
  readonly jobs: Record<string, number>;
  /** Number of workers. */
  readonly served_by: number;
}

export async function viewFleet(config: Config, { registry, queues, redis }: QueueSide): Promise<FleetView> {
  const workers = await registry.list();
  const names = new Set([...configuredQueues(config), ...workers.flatMap(queuesOf)]);
  const views = await Promise.all(
    [...names].map(async (name): Promise<QueueView> => {
      const queue = queues.get(name);
      const [paused, jobs] = await Promise.all([queue.isPaused(), queue.getJobCounts()]);
      const served_by = workers.filter((worker) => queuesOf(worker).includes(name)).length;
      return { name, paused, jobs, served_by };
    }),
  );
  return { workers, queues: views, jobs: sumOf(views), unfit: await whyUnfit(redis) };
}

const queuesOf = ({ queues }: SeenWorker): string[] => queues.map(({ queue }) => queue);

function sumOf(queues: readonly QueueView[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { jobs } of queues)
    for (const [state, count] of Object.entries(jobs)) sums[state] = (sums[state] ?? 0) + count;
  return sums;
}

/** Why what lies in a queue is not begun, however free the workers are; null: it is. */
export function whyNotTaken({ workers, queues }: FleetView, name: string): string | null {
  const serving = workers.filter((worker) => queuesOf(worker).includes(name));
  if (serving.length === 0) return `No worker takes jobs from queue ${name}`;
  if (queues.some((queue) => queue.name === name && queue.paused))
    return `Queue ${name} is paused (longshore resume-queue ${name})`;
  if (serving.every(({ state }) => state !== 'working'))
    return `Every worker of queue ${name} is drained (longshore undrain all)`;
  return null;
}

/** Queues of its steps that no worker takes jobs from. */
export function unservedQueues(
  { steps }: Pick<WorkflowDocument, 'steps'>,
  { workers }: Pick<FleetView, 'workers'>,
): string[] {
  const served = new Set(workers.flatMap(queuesOf));
  return [...new Set(steps.map(({ queue }) => queue))].filter((queue) => !served.has(queue));
}

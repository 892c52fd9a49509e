import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import { whyUnfit } from '../queue/fitness.ts';
import { whyRefused } from '../queue/refusals.ts';
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
  /** Why it takes no writes, so that no worker can say that it is there; null when it does. */
  readonly refused: LongshoreError | null;
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
  const [unfit, refused] = await Promise.all([whyUnfit(redis), whyRefused(redis, config.queue.prefix)]);
  return { workers, queues: views, jobs: sumOf(views), unfit, refused };
}

const queuesOf = ({ queues }: SeenWorker): string[] => queues.map(({ queue }) => queue);

function sumOf(queues: readonly QueueView[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { jobs } of queues)
    for (const [state, count] of Object.entries(jobs)) sums[state] = (sums[state] ?? 0) + count;
  return sums;
}

/** Why what lies in a queue is not begun, however free the workers are. */
export interface Untaken {
  readonly why: string;
  /** That lets it begin; null where a worker has to be started. */
  readonly command: string | null;
}

/** null: it is begun. */
export function whyNotTaken({ workers, queues }: FleetView, name: string): Untaken | null {
  const serving = workers.filter((worker) => queuesOf(worker).includes(name));
  if (serving.length === 0) return { why: `No worker takes jobs from queue ${name}`, command: null };
  if (queues.some((queue) => queue.name === name && queue.paused))
    return { why: `Queue ${name} is paused`, command: `longshore resume-queue ${name}` };
  if (serving.every(({ state }) => state !== 'working'))
    return { why: `Every worker of queue ${name} is drained`, command: 'longshore undrain all' };
  return null;
}

/** Why steps of a workflow would wait for a person; empty: none would. */
export const whyStepsWait = ({ steps }: Pick<WorkflowDocument, 'steps'>, fleet: FleetView): Untaken[] =>
  [...new Set(steps.map(({ queue }) => queue))].flatMap((queue) => whyNotTaken(fleet, queue) ?? []);

/** For a program that is going to wait for the workflow's end. @throws E_NO_WORKER */
export function assertTaken(document: Pick<WorkflowDocument, 'steps'>, fleet: FleetView): void {
  const untaken = whyStepsWait(document, fleet);
  if (untaken.length === 0) return;
  const commands = untaken.flatMap(({ command }) => (command === null ? [] : [`\`${command}\``]));
  const hint =
    commands.length < untaken.length
      ? hintOfOthers(fleet)
      : `Let the work go on (${commands.join(', ')}), then ask again.`;
  throw new LongshoreError(
    'E_NO_WORKER',
    untaken.map(({ why }) => why).join('; '),
    hint === null ? {} : { hint },
  );
}

/** Where there are workers, one more of the same kind would not take it either. Null: there are none. */
function hintOfOthers({ workers }: FleetView): string | null {
  const served = [...new Set(workers.flatMap(queuesOf))];
  if (served.length === 0) return null;
  return `Workers take jobs from ${served.join(', ')}. Correct the queue of the step, or name it in config.workers and start a worker that serves it.`;
}

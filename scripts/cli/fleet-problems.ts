import { livingPm2Home, pm2Command } from '../../workers/fleet/scaling/pm2.ts';
import type { WorkflowWithRuns } from '../../workers/records/contract.ts';
import { type FleetView, type Untaken, whyNotTaken } from '../../workers/workflows/fleet.ts';
import { runnablePosition } from '../../workers/workflows/status.ts';
import { counted } from './format.ts';
import { asTyped } from './typed.ts';

/** BullMQ's states of a job that a free slot would take at once. */
export const readyIn = (jobs: Readonly<Record<string, number>>): number =>
  (jobs.waiting ?? 0) + (jobs.prioritized ?? 0) + (jobs.paused ?? 0);

/** Work that nobody takes up, with what to do about it. */
export async function takersProblems(fleet: FleetView): Promise<string[]> {
  const { workers, queues, unfit, refused } = fleet;
  const problems = [unfit, refused].flatMap((one) =>
    one === null ? [] : [`${one.message}. ${asTyped(one.hint)}`],
  );
  // Its workers wait and cannot say so: to start more of them would be no help.
  if (workers.length === 0 && refused !== null) return problems;
  if (workers.length === 0) return [...problems, `No worker is there, so nothing runs. ${await startHint()}`];
  const untaken = queues.flatMap(({ name, jobs }) => {
    const why = readyIn(jobs) > 0 ? whyNotTaken(fleet, name) : null;
    return why === null ? [] : [`${untakenLine(why)}, and ${readyIn(jobs)} wait in it.`];
  });
  return [...problems, ...untaken];
}

export const untakenLine = ({ why, command }: Untaken): string =>
  command === null ? why : `${why} (${asTyped(command)})`;

/**
 * Steps that wait in a queue which neither a worker nor the configuration names: it was renamed, or left out, since they were
 * started. Nothing else would show them.
 */
export function forgottenQueues(
  { queues }: Pick<FleetView, 'queues'>,
  waiting: readonly WorkflowWithRuns[],
): string[] {
  const known = new Set(queues.map(({ name }) => name));
  const steps = waiting.flatMap((one) => one.workflow.steps[runnablePosition(one) ?? -1] ?? []);
  const forgotten = steps.map(({ queue }) => queue).filter((queue) => queue !== '' && !known.has(queue));
  return [...Map.groupBy(forgotten, (queue) => queue)].map(
    ([queue, all]) =>
      `E_NO_WORKER: ${counted(all.length, 'workflow')} ${all.length === 1 ? 'waits' : 'wait'} in queue ${queue}, which no worker and no key of the configuration names. Name it in config.workers.<app>.queues until it is empty (LONGSHORE_QUEUE for one worker by hand), or revoke them and start them anew.`,
  );
}

/** Those that were told to leave stay down; a second \`npm start\` beside pm2 would be another fleet. */
export async function startHint(): Promise<string> {
  const home = await livingPm2Home();
  return home === null
    ? 'Start one with `npm start`.'
    : `pm2 runs here: \`${pm2Command(home, 'restart worker')}\` starts those that were told to leave.`;
}

import { livingPm2Home, pm2Command } from '../../workers/fleet/pm2.ts';
import { type FleetView, type Untaken, whyNotTaken } from '../../workers/workflows/fleet.ts';
import { asTyped } from './typed.ts';

/** BullMQ's states of a job that a free slot would take at once. */
export const readyIn = (jobs: Readonly<Record<string, number>>): number =>
  (jobs.waiting ?? 0) + (jobs.prioritized ?? 0) + (jobs.paused ?? 0);

/** Work that nobody takes up, with what to do about it. */
export async function takersProblems(fleet: FleetView): Promise<string[]> {
  const { workers, queues, unfit } = fleet;
  const problems = unfit === null ? [] : [`${unfit.message}. ${asTyped(unfit.hint)}`];
  if (workers.length === 0) return [...problems, `No worker is there, so nothing runs. ${await startHint()}`];
  const untaken = queues.flatMap(({ name, jobs }) => {
    const why = readyIn(jobs) > 0 ? whyNotTaken(fleet, name) : null;
    return why === null ? [] : [`${untakenLine(why)}, and ${readyIn(jobs)} wait in it.`];
  });
  return [...problems, ...untaken];
}

export const untakenLine = ({ why, command }: Untaken): string =>
  command === null ? why : `${why} (${asTyped(command)})`;

/** Those that were told to leave stay down; a second \`npm start\` beside pm2 would be another fleet. */
export async function startHint(): Promise<string> {
  const home = await livingPm2Home();
  return home === null
    ? 'Start one with `npm start`.'
    : `pm2 runs here: \`${pm2Command(home, 'restart worker')}\` starts those that were told to leave.`;
}

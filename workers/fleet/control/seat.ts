import type { Registry } from '../../queue/registry.ts';
import { startOf } from '../../process-start.ts';

/**
 * What a worker keeps when it is started again. Under pm2 the number of its instance: the process id is another one each
 * time. Without pm2 a worker that restarts itself stays the same process (execve), which its start tells from a later
 * one with the same number.
 */
export function seatOf(app: string, host: string): string {
  const instance = process.env.NODE_APP_INSTANCE ?? process.env.pm_id;
  if (process.env.pm_id !== undefined) return `${app}@${host}#${instance}`;
  return `${app}@${host}:${process.pid}.${startOf(process.pid) ?? ''}`;
}

export const hostOfSeat = (seat: string): string => /@(.*)[#:][^#:]*$/.exec(seat)?.[1] ?? '';

/** Processes without pm2 that have ended will not come back. */
export async function forgetSeats(registry: Registry, app: string, host: string): Promise<void> {
  const here = `${app}@${host}:`;
  for (const seat of await registry.drainedWorkers()) {
    if (!seat.startsWith(here)) continue;
    const [pid = '', start = ''] = seat.slice(here.length).split('.');
    if (startOf(Number(pid)) !== start) await registry.setWorkerDrained(seat, false);
  }
}

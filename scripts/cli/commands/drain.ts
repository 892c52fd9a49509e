import type { Command } from 'commander';
import type { SeenWorker } from '../../../workers/queue/registry.ts';
import { hostOfSeat } from '../../../workers/fleet/control/seat.ts';
import type { Outcome } from '../each.ts';
import type { FleetSession } from '../fleet-session.ts';
import { order, runningOf, steer, type SteerOptions, steeringCommand } from './steer.ts';

/** drain, undrain: hosts and workers that are to be left alone for a while. */
export function addDrain(program: Command): void {
  steeringCommand(program, 'drain', '<worker...>', 'take no more jobs, and let those that run end', [
    'longshore drain node7 node8',
    'longshore undrain node7',
    'longshore drain node7:4711',
  ])
    .option('--undo', 'take jobs again, as undrain')
    .addHelpText(
      'after',
      `
It lasts until undrain: a host also for workers that are started there later, a
worker of pm2 also when it is started again.`,
    )
    .action((targets: string[], options: SteerOptions & { undo?: boolean }) =>
      steer(targets, options, (session, target) => drain(session, target, options)),
    );
  steeringCommand(program, 'undrain', '<worker...>', 'take jobs again after drain', [
    'longshore undrain node7',
    'longshore undrain all',
  ]).action((targets: string[], options: SteerOptions) =>
    steer(targets, options, (session, target) => drain(session, target, { ...options, undo: true })),
  );
}

async function drain(
  session: FleetSession,
  target: string,
  options: SteerOptions & { undo?: boolean },
): Promise<Outcome> {
  const { registry } = session.side;
  const workers = await registry.list();
  const marked = await hostsOf(session, target, workers, options.undo === true);
  if (!options.dryRun) {
    for (const host of marked) await registry.setDrained(host, !options.undo);
    // Workers of pm2 that are not there now would come back drained.
    if (options.undo)
      for (const seat of await registry.drainedWorkers())
        if (target === 'all' || target === hostOfSeat(seat)) await registry.setWorkerDrained(seat, false);
  }
  if (options.undo && marked.length > 0 && !workers.some(({ host }) => marked.includes(host)))
    return {
      json: { order: 'undrain', hosts: marked, replies: [], silent: [] },
      text: `${marked.join(', ')}: workers that are started there take jobs again`,
    };
  return order(session, target, options, {
    order: options.undo ? 'undrain' : 'drain',
    args: { keep: marked.length === 0 },
    tell: ({ result }) =>
      options.undo ? 'takes jobs again' : `takes no more jobs; ${runningOf(result)} still run`,
  });
}

/** None, when a single worker is meant. A host without a worker may be drained before it is switched on again. */
async function hostsOf(
  { side: { registry } }: FleetSession,
  target: string,
  workers: readonly SeenWorker[],
  undo: boolean,
): Promise<string[]> {
  const hosts = target === 'all' ? new Set(workers.map(({ host }) => host)) : [target];
  const known = [...hosts].filter((host) => workers.some((worker) => worker.host === host));
  const drained = [
    ...(await registry.drainedHosts()),
    ...(undo ? (await registry.drainedWorkers()).map((seat) => hostOfSeat(seat)) : []),
  ];
  return [...new Set([...known, ...drained.filter((host) => target === 'all' || host === target)])];
}

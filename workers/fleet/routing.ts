import { type Config, variable } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import { isQueueName, queueName } from '../workflows/definition.ts';

/** The app of config.workers that an unnamed worker is, and whose processes come and go by themselves. */
export const USUAL_APP = 'worker';

export interface ServedQueue {
  queue: string;
  /** Slots of this worker for this queue. */
  min: number;
  max: number;
}

export interface WorkerRole {
  /** As it is called by pm2; stands in the name of the worker. */
  app: string;
  /** In the order of the configuration; the first one is meant where an order names none. */
  queues: readonly ServedQueue[];
}

export interface AskedRole {
  /** LONGSHORE_WORKER */
  app?: string | undefined;
  /** LONGSHORE_QUEUE */
  queue?: string | undefined;
}

/** What this process was told to be. Under pm2 its app is what pm2 says: an .env would make all apps of a host one. */
export const askedRole = (): AskedRole => ({
  app: process.env.pm_id === undefined ? variable('LONGSHORE_WORKER') : process.env.LONGSHORE_WORKER,
  queue: variable('LONGSHORE_QUEUE'),
});

/**
 * What a worker takes jobs from: the queues of its app in config.workers, or the one queue that somebody asks for by hand.
 *
 * @throws E_CONFIG when there is no such app, or no queue can have that name
 */
export function roleOf(config: Config, asked: AskedRole): WorkerRole {
  const app = asked.app || USUAL_APP;
  const { min, max } = config.autoscale;
  if (asked.queue) {
    const queue = queueName(config, asked.queue);
    if (!isQueueName(queue))
      throw new LongshoreError(
        'E_CONFIG',
        `LONGSHORE_QUEUE: expected text without ":" and white space, got "${queue}"`,
        { fields: { queue } },
      );
    return { app, queues: [{ queue, min, max }] };
  }
  const configured = Object.hasOwn(config.workers, app) ? config.workers[app] : undefined;
  if (configured === undefined) {
    const known = Object.keys(config.workers).join(', ');
    throw new LongshoreError('E_CONFIG', `LONGSHORE_WORKER: "${app}" is not in config.workers (${known})`, {
      fields: { app },
    });
  }
  const queues = configured.queues.map((entry): ServedQueue => {
    const own = typeof entry === 'string' ? { name: entry } : entry;
    // Who names only one limit means it: the other one gives way.
    const most = own.max ?? Math.max(max, own.min ?? 0);
    return { queue: queueName(config, own.name), min: own.min ?? Math.min(min, most), max: most };
  });
  // Two names that become one, as {host} and the host's own: one loop of BullMQ is enough.
  return {
    app,
    queues: queues.filter(({ queue }, at) => queues.findIndex((one) => one.queue === queue) === at),
  };
}

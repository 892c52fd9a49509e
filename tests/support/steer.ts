import { onTestFinished } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { Reply } from '../../workers/queue/control.ts';
import type { SeenWorker } from '../../workers/queue/registry.ts';
import { openQueueSide, type QueueSide } from '../../workers/queue/side.ts';
import type { Fleet } from './fleet.ts';
import { until } from './until.ts';

/** A process of the fleet that is no worker: it sees all of them and gives orders. */
export interface Steerer {
  readonly side: QueueSide;
  workers(): Promise<SeenWorker[]>;
  /** Waits until so many are listed. */
  untilListed(count: number): Promise<SeenWorker[]>;
  /** The name of the one worker there is. */
  only(): Promise<string>;
  /** The answer of one worker. */
  tell(worker: string, order: string, args?: Record<string, unknown>): Promise<Reply>;
}

export async function makeSteerer({ place }: Fleet): Promise<Steerer> {
  const log = createLogger('test', {}, { level: 'silent' });
  const side = await openQueueSide(place.config, { log, wait_seconds: 10, name: 'test-steerer' });
  onTestFinished(() => side.close());
  const untilListed = (count: number): Promise<SeenWorker[]> =>
    until(
      async () => {
        const listed = await side.registry.list();
        return listed.length === count ? listed : null;
      },
      { what: `${count} listed workers` },
    );
  return {
    side,
    workers: () => side.registry.list(),
    untilListed,
    only: async () => (await untilListed(1))[0]?.name ?? '',
    tell: async (worker, order, args = {}) => {
      const { replies } = await side.control.ask(
        order,
        { actor: 'test', ...args },
        { to: [worker], wait_seconds: 20 },
      );
      const [reply] = replies;
      if (reply === undefined) throw new Error(`${worker} did not answer "${order}"`);
      return reply;
    },
  };
}

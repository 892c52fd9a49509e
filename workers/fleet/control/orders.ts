import { LongshoreError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { CancelOrder, OrderArgs, Orders } from '../../queue/control.ts';
import type { Departure } from './departure.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { Processor } from '../job/processor.ts';
import type { Registry } from '../../queue/registry.ts';
import type { Slots } from '../slots.ts';

export interface OrderParts {
  name: string;
  seat: string;
  registry: Pick<Registry, 'setWorkerDrained'>;
  slots: readonly Slots[];
  processor: Processor;
  departure: Departure;
  heartbeat: Heartbeat;
  log: Logger;
}

/** What a worker does when it is told to over the control channel. */
export function ordersFor(parts: OrderParts): Orders {
  const { name, seat, registry, slots, processor, departure, heartbeat, log } = parts;
  const resize = async (args: OrderArgs, sign: 1 | -1) => {
    const by = wholeNumber(args.by);
    const one = slotsOf(slots, args.queue);
    const before = one.count;
    one.move(sign * by, `by order of ${String(args.actor)}`);
    await heartbeat.beat();
    return { queue: one.queue, before, slots: one.count, ...one.limits };
  };
  return {
    ping: async () => ({ state: departure.state }),
    active: async () => (await heartbeat.entry()).running,
    stats: () => heartbeat.entry(),
    cancel: async (args) => {
      const order = { ...args, worker: name } as unknown as CancelOrder;
      return { stopped: await processor.cancel(order) };
    },
    grow: (args) => resize(args, 1),
    shrink: (args) => resize(args, -1),
    // `keep`: also when it is started again, as for maintenance. A drained host keeps that itself.
    drain: async ({ actor, keep }) => {
      log.info({ actor, keep: keep === true }, 'worker takes no more jobs until it is told to');
      if (keep === true) await registry.setWorkerDrained(seat, true);
      await departure.hold();
      await heartbeat.beat();
      return { running: processor.running.size };
    },
    undrain: async ({ actor }) => {
      await registry.setWorkerDrained(seat, false);
      if (!departure.release())
        throw new LongshoreError('E_WORKFLOW_STATE', `worker ${name} is leaving; it takes no more jobs`, {
          hint: 'pm2 starts another one; or start one by hand.',
        });
      log.info({ actor }, 'worker takes jobs again');
      await heartbeat.beat();
      return { running: processor.running.size };
    },
    shutdown: async ({ actor, immediate, restart }) => {
      departure.begin({
        reason: `ordered by ${String(actor)}`,
        immediate: immediate === true,
        restart: restart === true,
      });
      await heartbeat.beat();
      return { running: processor.running.size };
    },
  };
}

function slotsOf(slots: readonly Slots[], queue: unknown): Slots {
  const one = queue === undefined ? slots[0] : slots.find((each) => each.queue === queue);
  if (one !== undefined) return one;
  const listed = slots.map((each) => each.queue).join(', ');
  throw new LongshoreError('E_USAGE', `this worker does not serve queue ${String(queue)}; it has ${listed}`);
}

function wholeNumber(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 1000) return value;
  throw new LongshoreError('E_USAGE', `"${String(value)}" slots; expected a whole number from 1 to 1000`);
}

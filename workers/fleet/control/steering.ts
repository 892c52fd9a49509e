import type { Config } from '../../../config/index.ts';
import type { Logger } from '../../log.ts';
import type { RestartDue } from '../../queue/registry.ts';
import type { QueueSide } from '../../queue/side.ts';
import type { Store } from '../../store.ts';
import { createDeparture, type Departure } from './departure.ts';
import { type Heartbeat, startHeartbeat } from './heartbeat.ts';
import { ordersFor } from './orders.ts';
import type { Processor } from '../job/processor.ts';
import { readRelease } from '../code/release.ts';
import { forgetSeats, seatOf } from './seat.ts';
import type { Slots } from '../slots.ts';
import { startWatchdog } from '../health/watchdog.ts';

export interface SteeringParts {
  config: Config;
  store: Store;
  side: QueueSide;
  processor: Processor;
  slots: readonly Slots[];
  log: Logger;
  name: string;
  host: string;
  app: string;
  restartDue: () => RestartDue | null;
}

/** How a worker is seen and steered from elsewhere: it says how it is, obeys orders, and watches over itself. */
export interface Steering {
  readonly gone: Departure['gone'];
  readonly state: Departure['state'];
  readonly leave: Departure['begin'];
  readonly suspend: Departure['suspend'];
  readonly resume: Departure['resume'];
  readonly shutDown: Departure['shutDown'];
  /** It is not listed and not steered any more. */
  close(): Promise<void>;
}

export async function openSteering(parts: SteeringParts): Promise<Steering> {
  const { config, store, side, processor, slots, log, name, host, app, restartDue } = parts;
  const seat = seatOf(app, host);
  const departure = createDeparture(slots, processor, log);
  if (await side.registry.isDrained(host)) {
    log.warn({ host }, 'this host is drained: the worker takes no jobs (longshore undrain)');
    await departure.hold();
  } else if (await side.registry.isWorkerDrained(seat)) {
    log.warn({ seat }, 'this worker is drained: it takes no jobs (longshore undrain)');
    await departure.hold();
  }
  await side.refusals.through(() => forgetSeats(side.registry, app, host));
  const heartbeat: Heartbeat = startHeartbeat({
    seconds: config.fleet.heartbeat_seconds,
    identity: {
      name,
      host,
      pid: process.pid,
      started_at: new Date(performance.timeOrigin).toISOString(),
      release: readRelease(),
      seat,
    },
    restartDue,
    state: () => departure.state,
    suspended: () => departure.suspended,
    slots,
    running: processor.running,
    records: store.records,
    registry: side.registry,
    control: side.control,
    refusals: side.refusals,
    log,
  });
  await side.control.listen(
    name,
    ordersFor({
      name,
      seat,
      registry: side.registry,
      slots,
      processor,
      departure,
      heartbeat,
      log,
    }),
  );
  const watchdog = startWatchdog({ config, slots, refusals: side.refusals, log }, (reason) => {
    log.error({ reason }, 'worker restarts itself');
    departure.begin({ reason, immediate: false, restart: true });
  });
  return {
    gone: departure.gone,
    get state() {
      return departure.state;
    },
    leave: (order) => departure.begin(order),
    suspend: (reason) => departure.suspend(reason),
    resume: () => departure.resume(),
    shutDown: () => departure.shutDown(),
    close: async () => {
      await watchdog.stop();
      await heartbeat.stop();
    },
  };
}

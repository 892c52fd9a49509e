import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { checkRedis } from '../queue/connection.ts';
import { openSchedules } from '../queue/schedules.ts';
import { openQueueSide } from '../queue/side.ts';
import { takeLock } from '../queue/token-lock.ts';
import { openStore, type Store } from '../store.ts';
import { defaultQueue } from '../workflows/definition.ts';
import { reconcile } from '../workflows/reconcile.ts';
import { shareOf } from '../workflows/share.ts';
import { watchHost } from './host-watch.ts';
import { createProcessor, type Processor } from './processor.ts';
import { openSlots } from './slots.ts';

/** pm2 kills after 10 s (`kill_timeout`); jobs get the first part of that to end by themselves. */
const DRAIN_MS = 4_000;
const STOP_GRACE_SECONDS = 2;

export interface WorkerProcess {
  readonly name: string;
  /** Takes no more jobs; resolves when those that run have ended, however long that takes. Then shut it down. */
  drain(): Promise<void>;
  /** Takes no more jobs, lets those that run end for a moment, hands the others back, and closes everything. */
  shutdown(reason: string): Promise<void>;
}

/** Everything that one worker of the fleet does, until it is shut down. */
export async function startWorkerProcess(config: Config, log: Logger): Promise<WorkerProcess> {
  const host = hostname();
  const name = `${config.app_id}-worker@${host}:${process.pid}`;
  const queue = process.env.LONGSHORE_QUEUE || defaultQueue(config);
  const store = await openStorePatiently(config, log);
  const side = await openQueueSide(config, {
    log,
    wait_seconds: Number.POSITIVE_INFINITY,
    name,
    shareOf: shareOf(config, store, log),
  });
  await checkRedis(side.redis, log);

  const processor = createProcessor({ config, store, side, log, name, host });
  await side.control.listen((order) => processor.cancel(order));
  const slots = openSlots({ config, side, processor, log, name, queue });
  const schedules = await openSchedules(config, side.redis, log);
  const reconciling = every(config.workflow.reconcile_seconds, log, async () => {
    const turn = `${config.queue.prefix}:${config.app_id}:reconcile`;
    // One worker per period is enough for the fleet.
    const period_ms = Math.round(config.workflow.reconcile_seconds * 900);
    if (await takeLock(side.redis, turn, name, period_ms))
      await reconcile(config, store.records, side.chains, log);
  });
  // Under pm2 only: nobody else starts and forgets processes for us.
  const hostWatch =
    process.env.pm_id === undefined
      ? null
      : watchHost({ config, side, queue, name, host, log, busy: () => processor.running.size });
  log.info({ worker: name, queue, slots: slots.count }, 'worker ready');

  return {
    name,
    drain: async () => {
      await hostWatch?.stop();
      await slots.stopTaking();
      log.info({ running: processor.running.size }, 'worker drains');
      while (processor.running.size > 0) await sleep(200);
    },
    shutdown: async (reason) => {
      await hostWatch?.stop();
      await slots.stopTaking();
      log.info({ reason, running: processor.running.size }, 'worker takes no more jobs');
      await reconciling.stop();
      await schedules.close();
      await drain(processor, config, log);
      await slots.close();
      await side.close();
      await store.close();
    },
  };
}

async function drain(processor: Processor, config: Config, log: Logger): Promise<void> {
  const deadline = Date.now() + DRAIN_MS;
  while (processor.running.size > 0 && Date.now() < deadline) await sleep(50);
  if (processor.running.size === 0) return;
  log.info({ running: processor.running.size }, 'jobs that still run are handed back');
  await processor.stopAll(
    new LongshoreError('E_WORKER_STOPPED', 'its worker was shut down'),
    Math.min(config.task.kill_grace_seconds, STOP_GRACE_SECONDS),
  );
}

/** A file system that is not mounted yet at boot must not take the worker down. */
async function openStorePatiently(config: Config, log: Logger): Promise<Store> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await openStore(config);
    } catch (error) {
      if (tries % 5 === 0) log.error({ err: error }, 'the records cannot be opened; waiting for them');
      await sleep(1_000);
    }
  }
}

/** Repeats with a pause in between; a failure is logged and the next turn comes. */
function every(seconds: number, log: Logger, body: () => Promise<void>): { stop: () => Promise<void> } {
  const stopping = new AbortController();
  const pause = () => sleep(seconds * 1000, undefined, { signal: stopping.signal }).catch(() => undefined);
  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await body().catch((error: unknown) => log.error({ err: error }, 'reconciliation failed'));
      await pause();
    }
  };
  const running = loop();
  return {
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

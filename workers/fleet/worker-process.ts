import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../config/index.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { checkRedis, watchFitness } from '../queue/fitness.ts';
import { sweepPermits } from '../queue/permits.ts';
import { openSchedules } from '../queue/schedules.ts';
import { openQueueSide, type QueueSide } from '../queue/side.ts';
import { hurryStranded } from '../queue/stranded.ts';
import { takeLock } from '../queue/token-lock.ts';
import { openStore, type Store } from '../store.ts';
import { forgetOldLogs } from '../workflows/old-logs.ts';
import { reconcile } from '../workflows/reconcile.ts';
import { troubleTeller } from '../trouble.ts';
import { shareOf } from '../workflows/share.ts';
import { watchForHangs } from './health/hang-watch.ts';
import { watchHost } from './scaling/host-watch.ts';
import { keepLocks } from './health/lock-keeping.ts';
import { keepLogsSmall } from './health/log-files.ts';
import { watchNeighbours } from './health/neighbours.ts';
import { membersOf } from './isolation/process-group.ts';
import { createProcessor, type Processor } from './job/processor.ts';
import { missingTasks } from './missing-tasks.ts';
import { engineFiles, type Reload, startReload } from './reload/reload.ts';
import { repeat } from './repeat.ts';
import { askedRole, roleOf, USUAL_APP } from './routing.ts';
import { openSlots } from './slots.ts';
import { openSteering, type Steering } from './control/steering.ts';

/** pm2 kills after 10 s (`kill_timeout`); jobs get the first part of that to end by themselves. */
const DRAIN_MS = 4_000;
const STOP_GRACE_SECONDS = 2;

export interface WorkerProcess {
  readonly name: string;
  /** It was told over the control channel to leave, or its watchdog says so; it is to be shut down now. */
  readonly gone: Steering['gone'];
  /** Whether it runs the code of now, and when it is to restart. */
  readonly reload: Reload;
  /** Takes no more jobs, and is `gone` when those that run have ended, however long that takes. */
  leave: Steering['leave'];
  /**
   * Takes no more jobs, lets those that run end for a moment, hands the others back, and closes everything. `at_once`: without
   * that moment, for one that was told not to wait, or has waited.
   */
  shutdown(reason: string, options?: { at_once: boolean }): Promise<void>;
  /** Jobs that it still has. */
  inHand(): JobInHand[];
}

/** For whoever looks after a worker that could not leave in good order. */
export interface JobInHand {
  readonly job_id: string;
  readonly workflow_id: string;
  readonly queue: string;
  /** Null: no process of it runs. */
  readonly pgid: number | null;
  /** Living members of its process group. */
  readonly pids: number[];
}

/** Everything that one worker of the fleet does, until it is shut down. */
export async function startWorkerProcess(config: Config, log: Logger): Promise<WorkerProcess> {
  watchForHangs(config);
  const loaded = engineFiles();
  const host = hostname();
  const { app, queues } = roleOf(config, askedRole());
  const name = `${config.app_id}-${app}@${host}:${process.pid}`;
  const store = await openStorePatiently(config, log);
  const side = await openQueueSide(config, {
    log,
    wait_seconds: Number.POSITIVE_INFINITY,
    name,
    shareOf: shareOf(config, store, log),
  });
  await checkRedis(side.redis, log);

  const processor = createProcessor({ config, store, side, log, name, host });
  const slots = queues.map((served) => openSlots({ config, side, processor, log, name, ...served }));
  const locks = keepLocks(side.redis, processor, log);
  const neighbours = await watchNeighbours({ config, side, slots, log });
  let leaving = (): boolean => false;
  const reload = startReload({
    config,
    log,
    loaded,
    busy: () => processor.inHand.size,
    leaving: () => leaving(),
  });
  const steering = await openSteering({
    config,
    store,
    side,
    processor,
    slots,
    log,
    name,
    host,
    app,
    restartDue: () => reload.due,
  });
  leaving = () => steering.state === 'leaving';
  const fitness = watchFitness(side.redis, log, (unfit) => {
    if (unfit === null) steering.resume();
    else
      steering
        .suspend(unfit.message)
        .catch((error: unknown) => log.error({ err: error }, 'the worker may still take jobs'));
  });
  const { refusals } = side;
  const schedules = await openSchedules(config, side.redis, log, { refusals });
  const reconciling = repeat(
    config.workflow.reconcile_seconds,
    async () => {
      for (const { queue } of queues) await putRight(side, queue, log);
      const turn = `${config.queue.prefix}:${config.app_id}:reconcile`;
      // One worker per period is enough for the fleet.
      const period_ms = Math.round(config.workflow.reconcile_seconds * 900);
      if (!(await takeLock(side.redis, turn, name, period_ms))) return;
      await reconcile(config, store.records, side.chains, log);
      await sweepPermits(side.redis, config.queue.prefix);
      await forgetOldLogs(config, store.records);
    },
    troubleTeller(log, {
      what: 'reconciliation failed',
      end: 'reconciliation goes on',
      except: refusals.met,
    }),
  );
  const hostWatch = isScaled(app)
    ? watchHost({
        config,
        side,
        queues,
        name,
        host,
        log,
        busy: () => processor.running.size,
        working: () => steering.state === 'working',
      })
    : null;
  const logFiles = keepLogsSmall({ config, side, log, name, host });
  for (const { key, message } of missingTasks(config)) log.error(`${key}: ${message}`);
  log.info({ worker: name, queues }, 'worker ready');
  for (const one of slots) one.begin();

  return {
    name,
    gone: steering.gone,
    leave: (order) => steering.leave(order),
    reload,
    inHand: () => jobsInHand(processor),
    shutdown: async (reason, { at_once } = { at_once: false }) => {
      // Both could let the worker take jobs again: a Redis that is well now, and an order of a person.
      fitness.stop();
      steering.shutDown();
      const taking = slots.map((one) => one.stopTaking());
      log.info({ reason, running: processor.running.size }, 'worker takes no more jobs');
      // Side by side: tasks are ended in time, whatever a Redis or a store that does not answer keeps.
      await Promise.all([
        ...taking,
        drain(processor, config, log, at_once ? 0 : DRAIN_MS),
        hostWatch?.stop(),
        reload.close(),
        reconciling.stop(),
        logFiles.stop(),
        schedules.close(),
      ]);
      await Promise.all(slots.map((one) => one.close()));
      locks.stop();
      await neighbours.stop();
      await steering.close();
      await side.close();
      await store.close();
    },
  };
}

/** What only time, or a clock, brings about in a queue. */
async function putRight(side: QueueSide, queue: string, log: Logger): Promise<void> {
  await side.shares.windBack(queue);
  const jobs = await hurryStranded(side.redis, side.queues.get(queue));
  if (jobs.length > 0)
    log.warn({ queue, jobs }, 'jobs were put off by a clock that was ahead; they are due now');
}

const jobsInHand = ({ inHand, running }: Processor): JobInHand[] =>
  [...inHand].map(({ id = '', queueName, data: { workflow_id } }) => {
    const pgid = [...running.values()].find(({ lock }) => lock.job_id === id)?.child.pid ?? null;
    return {
      job_id: id,
      workflow_id,
      queue: queueName,
      pgid,
      pids: pgid === null ? [] : membersOf(pgid),
    };
  });

/** Under pm2 only, since nobody else starts and forgets processes for us; and only of the usual app. */
const isScaled = (app: string): boolean => process.env.pm_id !== undefined && app === USUAL_APP;

async function drain(processor: Processor, config: Config, log: Logger, wait_ms: number): Promise<void> {
  const deadline = performance.now() + wait_ms;
  while (processor.inHand.size > 0 && performance.now() < deadline) await sleep(50);
  if (processor.inHand.size === 0) return;
  log.info({ running: processor.inHand.size }, 'jobs that still run are handed back');
  await processor.stopAll(
    new LongshoreError('E_WORKER_STOPPED', 'its worker was shut down'),
    Math.min(config.task.kill_grace_seconds, STOP_GRACE_SECONDS),
  );
}

/** A file system that is not mounted yet at boot must not take the worker down. */
async function openStorePatiently(config: Config, log: Logger): Promise<Store> {
  const trouble = troubleTeller(log, {
    what: 'the records cannot be opened; waiting for them',
    end: 'the records are open',
  });
  for (;;) {
    try {
      const store = await openStore(config);
      trouble.over();
      return store;
    } catch (error) {
      // No wait makes this code newer.
      if (isLongshoreError(error) && error.code === 'E_OUTDATED') throw error;
      trouble.met(error);
      await sleep(1_000);
    }
  }
}

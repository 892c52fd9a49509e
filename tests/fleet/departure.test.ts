/** How a worker leaves with jobs that have no process yet, or none any more. */
import { existsSync } from 'node:fs';
import type { Job } from 'bullmq';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createDeparture, EXIT_AGAIN } from '../../workers/fleet/control/departure.ts';
import { createProcessor } from '../../workers/fleet/job/processor.ts';
import { engineFiles, startReload } from '../../workers/fleet/reload/reload.ts';
import type { Processor } from '../../workers/fleet/job/processor.ts';
import type { Slots } from '../../workers/fleet/slots.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { lendEnvironment } from '../queue/scheduled-script.ts';
import { makeFleet } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';
import { standInProcesses } from './stand-in-processes.ts';

const log = createLogger('test', {}, { level: 'fatal' });

test('a worker that leaves waits for a job that has no process yet, too', async () => {
  const job = { id: 'w.0' } as Job<JobData>;
  const inHand = new Set([job]);
  const processor = { running: new Map(), inHand, refuse: () => undefined } as unknown as Processor;
  const departure = createDeparture([], processor, log);
  let gone = false;
  void departure.gone.then(() => (gone = true));
  departure.begin({ reason: 'scaled down', immediate: false, restart: false });
  let looks = 0;
  const { size } = inHand;
  Object.defineProperty(inHand, 'size', {
    get: () => {
      looks += 1;
      return looks > 3 ? 0 : size;
    },
  });
  await until(() => gone, { what: 'the worker to be gone' });
  expect(looks).toBeGreaterThan(3);
});

/** A worker with one queue and one job in hand; what its parts are told. */
function makeDeparture() {
  const told: string[] = [];
  const processor = {
    running: new Map(),
    inHand: new Set([{ id: 'w.0' }]),
    refuse: (on: boolean) => told.push(on ? 'refuse' : 'take'),
  } as unknown as Processor;
  const slots = {
    hold: async () => void told.push('hold'),
    release: () => void told.push('release'),
  } as unknown as Slots;
  const departure = createDeparture([slots], processor, log);
  return { departure, told: () => told.splice(0) };
}

test('a worker takes jobs again when it neither drains nor is suspended any more, and not before', async () => {
  const { departure, told } = makeDeparture();
  await departure.hold();
  expect([departure.state, ...told()]).toEqual(['draining', 'refuse', 'hold']);
  await departure.suspend('Redis may drop jobs');
  departure.resume();
  expect([departure.state, ...told()]).toEqual(['draining', 'refuse', 'hold']);
  await departure.suspend('Redis may drop jobs');
  told();
  expect(departure.release()).toBe(true);
  expect([departure.state, ...told()]).toEqual(['working']);
  departure.resume();
  expect(told()).toEqual(['take', 'release']);
});

test.each(['begin', 'shutDown'] as const)('nothing undoes that a worker leaves by %s', async (way) => {
  const { departure, told } = makeDeparture();
  const order = { reason: 'scaled down', immediate: false, restart: false };
  departure[way](order);
  told();
  expect(departure.release()).toBe(false);
  departure.resume();
  expect(told()).toEqual([]);
  await departure.hold();
  expect(departure.state).toBe('leaving');
  // It has a job in hand, and no order before this one had it leave that behind.
  departure.begin({ ...order, reason: 'now', immediate: true, restart: true });
  expect(await departure.gone).toEqual({ reason: 'now', code: EXIT_AGAIN });
});

test('a job whose process begins after everything was stopped is stopped as well', async () => {
  const fleet = await makeFleet();
  const { config } = fleet.place;
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  onTestFinished(() => side.close());
  const id = await fleet.start({ one: {} });
  const claimed = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const { records } = fleet.store;
  const slow = {
    ...records,
    claim: async (...args: Parameters<typeof records.claim>) => {
      claimed.resolve();
      await goOn.promise;
      return records.claim(...args);
    },
  };
  const { processes, stopped } = standInProcesses();
  const parts = { config, store: { ...fleet.store, records: slow }, side, log, name: 'w1', host: 'h' };
  const processor = createProcessor(parts, processes);
  const job = await side.queues.get(`${config.app_id}.q`).getJob(`${id}.0`);
  if (job === undefined) throw new Error('the workflow was not queued');
  const processing = processor.process(job, 'token').catch((error: unknown) => error);
  await claimed.promise;
  await processor.stopAll(new LongshoreError('E_WORKER_STOPPED', 'its worker was shut down'), 0);
  goOn.resolve();
  expect((await stopped).code).toBe('E_WORKER_STOPPED');
  await processing;
  expect(
    await records.attempts((await fleet.engine.show(id)).steps[0]?.last_task_run?._id ?? ''),
  ).toMatchObject([{ outcome: 'postponed', reason: 'its worker was shut down' }]);
});

test('changed code brings no worker back that was told to leave', async () => {
  const place = await makePlace({ reload: { watch: 'all' } });
  lendEnvironment(place);
  const loaded = new Map([...engineFiles()].map(([path, text]) => [path, `${text}\n// as it was\n`]));
  let leaving = true;
  let asked = 0;
  const reload = startReload({
    config: place.config,
    log,
    loaded,
    busy: () => 0,
    leaving: () => {
      if (reload.due !== null) asked += 1;
      return leaving;
    },
  });
  onTestFinished(() => reload.close());
  let restarts = false;
  void reload.restart.then(() => (restarts = true));
  await until(() => asked > 2, { what: 'a restart to be due' });
  expect(restarts).toBe(false);
  leaving = false;
  await until(() => restarts, { what: 'the restart of one that stays' });
});

test('a worker that leaves does not wait until changed code was tried', async () => {
  const place = await makePlace({ reload: { watch: 'all' } });
  lendEnvironment(place);
  const begun = place.path('begun');
  const slow = `import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(begun)}, ''); await new Promise((go) => setTimeout(go, 50_000));`;
  vi.stubEnv('NODE_OPTIONS', `--import=data:text/javascript,${encodeURIComponent(slow)}`);
  const loaded = new Map([...engineFiles()].map(([path, text]) => [path, `${text}\n// as it was\n`]));
  const reload = startReload({ config: place.config, log, loaded, busy: () => 0, leaving: () => false });
  await until(() => existsSync(begun), { what: 'the trial to begin' });
  const closed_at = performance.now();
  await reload.close();
  expect(performance.now() - closed_at).toBeLessThan(5_000);
});

/** Hosts whose time is put right while they work: nothing may wait for hours, or end, because of that. */
import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Worker, Worker as BullWorker } from 'bullmq';
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import { NO_PRESSURE, type Pressure } from '../../workers/fleet/scaling/pressure.ts';
import type { Processor } from '../../workers/fleet/job/processor.ts';
import { openSlots } from '../../workers/fleet/slots.ts';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { startRecovery } from '../../workers/queue/recovery.ts';
import { withScriptLock } from '../../workers/queue/script-lock.ts';
import { openQueueSide } from '../../workers/queue/side.ts';
import { hurryStranded } from '../../workers/queue/stranded.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const log = createLogger('test', {}, { level: 'fatal' });
const HOUR_MS = 3_600_000;

/** From now on, for this process: the time of day only, as when somebody sets it. */
function setClock(by_ms: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + by_ms });
  onTestFinished(() => void vi.useRealTimers());
}

test('a clock that is put back by an hour does not keep slots from growing', async () => {
  const { config } = await makePlace({
    autoscale: { min: 2, max: 8, calm_seconds: 0.5, hold: { memory_used_percent: 85 } },
  });
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  const queue = side.queues.get('clock.q');
  const gate = Promise.withResolvers<void>();
  let begun = 0;
  const processor = {
    process: () => {
      begun += 1;
      return gate.promise;
    },
    refuse: () => undefined,
  } as unknown as Processor;
  let pressure: Pressure = { ...NO_PRESSURE, memory_used: 88 };
  let looks = 0;
  const slots = openSlots({
    config,
    side,
    processor,
    log,
    name: 'w1',
    queue: 'clock.q',
    pressure: () => {
      looks += 1;
      return pressure;
    },
  });
  onTestFinished(async () => {
    await slots.stopTaking();
    gate.resolve();
    await slots.close();
    await queue.obliterate({ force: true });
    await side.close();
  });
  slots.begin();
  await queue.addBulk(
    Array.from({ length: 20 }, (_, index) => ({ name: 'gate', data: { workflow_id: 'w', index } })),
  );
  await until(() => begun === 2 && looks > 2, { what: 'growth to be held back' });
  setClock(-HOUR_MS);
  pressure = NO_PRESSURE;
  await until(() => begun === 8, { what: 'growth after the pressure' });
});

test('a clock that is put back by an hour does not keep the jobs of lost workers waiting', async () => {
  const { config } = await makePlace({ queue: { lock_seconds: 1, stalled_check_seconds: 1 } });
  const redis = Object.assign(new EventEmitter(), {
    status: 'ready',
    info: async () => 'uptime_in_seconds:86400',
  });
  let looks = 0;
  const moveStalledJobsToWait = async (): Promise<string[]> => {
    looks += 1;
    return [];
  };
  const worker = { getBackend: () => ({ moveStalledJobsToWait }) } as unknown as Worker<JobData>;
  const refusals = {
    refusing: false,
    met: () => false,
    through: async () => undefined,
    close: () => undefined,
  };
  const recovery = startRecovery(
    config,
    worker,
    { redis: redis as unknown as Redis, refusals } as never,
    log,
  );
  onTestFinished(() => recovery.stop());
  redis.emit('ready');
  setClock(-HOUR_MS);
  await until(() => looks > 0, { what: 'a look for the jobs of lost workers' });
});

test('a clock that is put forward by an hour ends no script', async () => {
  const { config } = await makePlace();
  let lost = false;
  const outcome = await withScriptLock(
    config,
    'purge',
    log,
    async (signal) => {
      setClock(HOUR_MS);
      // Its lock is renewed several times.
      await sleep(1_000, undefined, { signal }).catch(() => (lost = true));
    },
    { lease_ms: 600, leave_ms: 60_000 },
  );
  expect(outcome.ran).toBe(true);
  expect(lost).toBe(false);
});

test('a job that a clock which was ahead has put off is due when the clock is right; others wait', async () => {
  const { config } = await makePlace();
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'test' });
  const queue = side.queues.get('stranded.q');
  const taker = new BullWorker<JobData>('stranded.q', null, {
    connection: side.redis.duplicate({ maxRetriesPerRequest: null }),
    prefix: config.queue.prefix,
    autorun: false,
  });
  onTestFinished(async () => {
    await taker.close(true);
    await queue.obliterate({ force: true });
    await side.close();
  });
  /** As a task that looks again in five minutes. */
  const putOff = async (jobId: string): Promise<void> => {
    await queue.add('wait', { workflow_id: jobId, index: 0 }, { jobId });
    const job = await taker.getNextJob('token');
    expect(job?.id).toBe(jobId);
    await job?.moveToDelayed(Date.now() + 300_000, 'token');
  };
  setClock(400 * 24 * HOUR_MS);
  await putOff('ahead');
  vi.useRealTimers();
  await putOff('right');
  // More than are looked at, and all due before it.
  const waiting = { name: 'wait', data: { workflow_id: 'w', index: 0 }, opts: { delay: 300_000 } };
  await queue.addBulk(Array.from({ length: 100 }, () => waiting));
  expect(await queue.getDelayedCount()).toBe(102);
  expect(await hurryStranded(side.redis, queue)).toEqual(['ahead']);
  expect(await queue.getJobState('ahead')).toBe('waiting');
  expect(await queue.getJobState('right')).toBe('delayed');
  expect(await hurryStranded(side.redis, queue)).toEqual([]);
});

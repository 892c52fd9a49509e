import { EventEmitter } from 'node:events';
import type { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { startRecovery } from '../../workers/queue/recovery.ts';
import { makePlace } from '../support/place.ts';

test('after an answer that took long nobody is taken for lost before the living could renew their locks', async () => {
  const { config } = await makePlace({ queue: { lock_seconds: 2, stalled_check_seconds: 1 } });
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  let asked = 0;
  let looks = 0;
  let answer = Promise.resolve();
  const redis = Object.assign(new EventEmitter(), {
    status: 'ready',
    info: async () => {
      asked += 1;
      await answer;
      return 'uptime_in_seconds:86400';
    },
  });
  const moveStalledJobsToWait = async (): Promise<string[]> => {
    looks += 1;
    return [];
  };
  const worker = { getBackend: () => ({ moveStalledJobsToWait }) } as unknown as Worker<JobData>;
  const side = { redis: redis as unknown as Redis, refusals: { met: () => false } };
  const recovery = startRecovery(config, worker, side as never, createLogger('test', {}, { level: 'fatal' }));
  onTestFinished(() => recovery.stop());
  await vi.advanceTimersByTimeAsync(1000);
  expect([asked, looks]).toEqual([1, 1]);
  // A Redis that hangs with its connections open: the renewals of the others stand behind this question.
  const hung = Promise.withResolvers<void>();
  answer = hung.promise;
  await vi.advanceTimersByTimeAsync(2500);
  expect([asked, looks]).toEqual([2, 1]);
  hung.resolve();
  await vi.advanceTimersByTimeAsync(1900);
  expect(looks).toBe(1);
  await vi.advanceTimersByTimeAsync(1100);
  expect(looks).toBe(2);
});

import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import { startRecovery } from '../../workers/queue/recovery.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

test('after an answer that took long nobody is taken for lost before the living could renew their locks', async () => {
  const { config } = await makePlace({ queue: { lock_seconds: 1, stalled_check_seconds: 1 } });
  const answers: number[] = [];
  const looks: number[] = [];
  let hangs = false;
  const redis = Object.assign(new EventEmitter(), {
    status: 'ready',
    info: async () => {
      // As a Redis that hung with its connections open: the renewals of the others stand behind this question.
      if (hangs) await sleep(600);
      if (hangs) answers.push(performance.now());
      hangs = false;
      return 'uptime_in_seconds:86400';
    },
  });
  const moveStalledJobsToWait = async (): Promise<string[]> => {
    looks.push(performance.now());
    return [];
  };
  const worker = { getBackend: () => ({ moveStalledJobsToWait }) } as unknown as Worker<JobData>;
  const side = { redis: redis as unknown as Redis, refusals: { met: () => false } };
  const log = createLogger('test', {}, { level: 'fatal' });
  const recovery = startRecovery(config, worker, side as never, log);
  onTestFinished(() => recovery.stop());
  await until(() => looks.length > 0, { what: 'a look for lost workers' });
  hangs = true;
  await until(() => answers.length > 0, { what: 'the answer that took long' });
  const before = looks.length;
  await until(() => looks.length > before, { what: 'the next look' });
  expect((looks[before] ?? 0) - (answers[0] ?? 0)).toBeGreaterThanOrEqual(1000);
});

import { once } from 'node:events';
import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { withScriptLock } from '../../workers/queue/script-lock.ts';
import { makePlace } from '../support/place.ts';

const log = createLogger('test', {}, { level: 'fatal' });
const TIMES = { lease_ms: 300, leave_ms: 60_000 };

test('a script whose lock somebody else has got is told so, and leaves that lock alone', async () => {
  const { config } = await makePlace();
  const redis = new Redis(inject('redis'));
  onTestFinished(() => redis.disconnect());
  const key = `${config.queue.prefix}:${config.app_id}:script:purge`;
  const done = await withScriptLock(
    config,
    'purge',
    log,
    async (signal) => {
      expect(await redis.get(key)).toMatch(/:\d+:/);
      await redis.set(key, 'somebody else', 'PX', 60_000);
      await once(signal, 'abort');
      return (signal.reason as Error).message;
    },
    TIMES,
  );
  expect(done).toEqual({ ran: true, result: 'the lock of script purge was lost' });
  expect(await redis.get(key)).toBe('somebody else');
  const other = await withScriptLock(config, 'purge', log, async () => 'ran', TIMES);
  expect(other).toEqual({ ran: false, holder: 'somebody else' });
  await redis.del(key);
});

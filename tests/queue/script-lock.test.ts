import { once } from 'node:events';
import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { TURN_VARIABLE, turnEnd } from '../../workers/queue/turn-end.ts';
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

test('the turn of a schedule tells how it ended, whichever way, and is not run once more', async () => {
  const { config } = await makePlace();
  const redis = new Redis(inject('redis'));
  onTestFinished(() => redis.disconnect());
  const runs: string[] = [];
  const run = (turn: string, body: () => Promise<number>) => {
    process.env[TURN_VARIABLE] = turn;
    return withScriptLock(
      config,
      'purge',
      log,
      async () => {
        runs.push(turn);
        // What it starts is not the turn.
        expect(process.env[TURN_VARIABLE]).toBeUndefined();
        return body();
      },
      TIMES,
    );
  };
  const endOf = async (turn: string) => {
    const end = await turnEnd(config, redis, turn);
    return end === null ? null : [end.outcome, end.reason];
  };
  expect(await run('well', async () => 0)).toEqual({ ran: true, result: 0 });
  expect(await endOf('well')).toEqual(['done', null]);
  expect(await run('badly', async () => 3)).toEqual({ ran: true, result: 3 });
  expect(await endOf('badly')).toEqual(['failed', 'scripts/purge.ts ended with exit code 3']);
  const failing = run('thrown', async () => {
    // The end is told before the lock is free, and not before there is one.
    expect(await endOf('thrown')).toBeNull();
    throw new Error('the disk is full');
  });
  await expect(failing).rejects.toThrow('the disk is full');
  expect(await endOf('thrown')).toEqual(['failed', 'the disk is full']);
  // Another worker has started it as well, before the first one had the lock.
  for (const turn of ['well', 'thrown']) expect((await run(turn, async () => 0)).ran).toBe(false);
  expect(runs).toEqual(['well', 'badly', 'thrown']);
  expect(await redis.keys(`${config.queue.prefix}:*:script:*`)).toEqual([]);
});

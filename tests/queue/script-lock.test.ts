import { once } from 'node:events';
import { hostname } from 'node:os';
import { Redis } from 'ioredis';
import { expect, inject, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { startEmbeddedRedis } from '../../workers/queue/embedded.ts';
import { takeLocks } from '../../workers/queue/token-lock.ts';
import { TURN_VARIABLE, turnEnd } from '../../workers/queue/turn-end.ts';
import { withScriptLock } from '../../workers/queue/script-lock.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

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
  expect(other).toEqual({ ran: false, busy: { holder: 'somebody else', since: null, subject: null } });
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

const untilRenewed = async (redis: Redis, key: string): Promise<void> => {
  let left = await redis.pttl(key);
  await until(async () => {
    const before = left;
    left = await redis.pttl(key);
    return left > before;
  });
};

test('work on several subjects takes all of them or none, and gives all of them back', async () => {
  const { config } = await makePlace();
  const redis = new Redis(inject('redis'));
  onTestFinished(() => redis.disconnect());
  const on = <T>(subjects: string[], body: () => Promise<T>) =>
    withScriptLock(config, 'purge', log, body, { ...TIMES, subjects });
  const seen: unknown[] = [];
  await on(['a', 'b'], async () => {
    seen.push(await on(['c', 'b', 'd'], async () => 'ran'));
    // What stands before the held one was not taken either.
    seen.push(await on(['c', 'd'], async () => 'ran'));
    for (const subject of ['a', 'b'])
      await untilRenewed(redis, `${config.queue.prefix}:${config.app_id}:script:purge:${subject}`);
    seen.push(await on(['a'], async () => 'ran'), await on(['b'], async () => 'ran'));
  });
  const busy = (subject: string) => ({
    ran: false,
    busy: { holder: `${hostname()}:${process.pid}`, since: expect.stringMatching(/^2.*Z$/), subject },
  });
  expect(seen).toEqual([busy('b'), { ran: true, result: 'ran' }, busy('a'), busy('b')]);
  expect(await redis.keys(`${config.queue.prefix}:*:script:*`)).toEqual([]);
});

test('of several locks none is taken, not for a moment, when one is held; those that are taken end by themselves', async () => {
  const { config } = await makePlace();
  const redis = new Redis(inject('redis'));
  onTestFinished(() => redis.disconnect());
  const [a, b] = ['a', 'b'].map((name) => `${config.queue.prefix}:lock:${name}`) as [string, string];
  expect(await takeLocks(redis, [b], 'one', 60_000)).toBeNull();
  expect(await takeLocks(redis, [a, b], 'two', 60_000)).toEqual({ key: b, token: 'one' });
  expect(await redis.get(a)).toBeNull();
  expect(await redis.pttl(b)).toBeGreaterThan(0);
});

test('work that outlives its lock is told nothing of its loss', async () => {
  const { config } = await makePlace();
  const redis = new Redis(inject('redis'));
  onTestFinished(() => redis.disconnect());
  const key = `${config.queue.prefix}:${config.app_id}:script:purge:a`;
  const options = { ...TIMES, leave_ms: 0, subjects: ['a'], outlives_lock: true };
  const done = await withScriptLock(
    config,
    'purge',
    log,
    async (signal) => {
      await redis.set(key, 'somebody else', 'PX', 60_000);
      // Looks three times as seldom, so that the other has looked by the time this one is told.
      const seldom = {
        ...options,
        lease_ms: TIMES.lease_ms * 3,
        leave_ms: 60_000,
        outlives_lock: false,
        subjects: ['b'],
      };
      await withScriptLock(
        config,
        'purge',
        log,
        async (other) => {
          await redis.set(key.replace(/a$/, 'b'), 'somebody else', 'PX', 60_000);
          await once(other, 'abort');
        },
        seldom,
      );
      return signal.aborted;
    },
    options,
  );
  expect(done).toEqual({ ran: true, result: false });
  expect(await redis.get(key)).toBe('somebody else');
});

test('work that ends while Redis is away for a moment gives its lock back, and a turn tells its end', async () => {
  const place = await makePlace({ queue: { url: null } });
  const folder = place.path('redis');
  const { config } = place;
  let server = await startEmbeddedRedis(folder);
  onTestFinished(() => server.stop());
  for (const turn of ['1', null]) {
    if (turn !== null) process.env[TURN_VARIABLE] = turn;
    const away = Promise.withResolvers<void>();
    const run = withScriptLock(config, 'purge', log, async () => {
      // As a failover begins.
      await server.stop();
      away.resolve();
      return 0;
    });
    await away.promise;
    server = await startEmbeddedRedis(folder);
    expect(await run).toEqual({ ran: true, result: 0 });
    const redis = new Redis(server.url);
    try {
      expect(await redis.keys('*:script:purge')).toEqual([]);
      expect((await turnEnd(config, redis, '1'))?.outcome).toBe('done');
    } finally {
      redis.disconnect();
    }
  }
});

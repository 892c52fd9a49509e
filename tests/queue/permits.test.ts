import { Redis } from 'ioredis';
import { inject, onTestFinished, expect, test, vi } from 'vitest';
import { createPermits, sweepPermits } from '../../workers/queue/permits.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

async function holders(count: number, hold_ms: number) {
  const { config } = await makePlace();
  const redis = new Redis(inject('redis'));
  onTestFinished(() => redis.disconnect());
  const lost: string[] = [];
  const made = Array.from({ length: count }, (_, index) =>
    createPermits(redis, {
      prefix: config.queue.prefix,
      holder: `task-${index}`,
      hold_ms,
      onError: (error) => {
        throw error;
      },
      onLost: (resource, limit) => void lost.push(`task-${index} ${resource} ${limit}`),
    }),
  );
  onTestFinished(async () => {
    for (const one of made) await one.end();
  });
  return { redis, prefix: config.queue.prefix, made, lost };
}

test('of three that want one of two permits one waits, until another has ended', async () => {
  const { made } = await holders(3, 60_000);
  const [a, b, c] = made;
  expect(await Promise.all(made.map((one) => one.take('tape', 2)))).toEqual([true, true, false]);
  expect(await a?.take('tape', 2)).toBe(true); // Its own, once more.
  expect(await c?.take('other', 1)).toBe(true);
  await b?.end();
  expect(await c?.take('tape', 2)).toBe(true);
});

test('a permit is renewed while its holder lives, and runs out when it is gone', async () => {
  const { redis, prefix, made } = await holders(2, 3_000);
  const [living, waiting] = made;
  expect(await living?.take('tape', 1)).toBe(true);
  const first = Number(await redis.zscore(`${prefix}:permits:tape`, 'task-0'));
  expect(await redis.pexpiretime(`${prefix}:permits:tape`)).toBeGreaterThan(first);
  await until(async () => Number(await redis.zscore(`${prefix}:permits:tape`, 'task-0')) > first, {
    what: 'a renewal',
  });
  // Before it had run out: else another one could have been faster.
  const [seconds, micros] = await redis.time();
  expect(Number(seconds) * 1000 + Number(micros) / 1000).toBeLessThan(first);
  expect(await waiting?.take('tape', 1)).toBe(false);
  // As one leaves that was killed: its entry stays, and nobody renews it.
  await redis.zadd(`${prefix}:permits:dead`, Date.now() + 300, 'task-killed');
  await until(async () => waiting?.take('dead', 1), { what: 'the permit of the dead' });
});

test('what nobody holds any more leaves nothing in Redis', async () => {
  const { redis, prefix, made } = await holders(2, 60_000);
  const [a, b] = made;
  await a?.take('dataset:1', 2);
  await b?.take('dataset:1', 2);
  expect(await redis.hgetall(`${prefix}:permits`)).toEqual({ 'dataset:1': '2' });
  await a?.end();
  expect(await redis.hgetall(`${prefix}:permits`)).toEqual({ 'dataset:1': '2' });
  await b?.end();
  expect(await redis.keys(`${prefix}:permits*`)).toEqual([]);
});

test('what died with its holder is swept from the index, and what is held stays', async () => {
  const { redis, prefix, made } = await holders(1, 60_000);
  await made[0]?.take('tape', 1);
  // As one leaves that was killed: nobody gives its permit back.
  await redis.hset(`${prefix}:permits`, 'dataset:7', 1);
  await redis.zadd(`${prefix}:permits:dataset:7`, Date.now() + 200, 'task-killed');
  await redis.hset(`${prefix}:permits:dataset:7:holders`, 'task-killed', 'null');
  expect(await sweepPermits(redis, prefix)).toBe(0);
  await until(async () => (await sweepPermits(redis, prefix)) === 1, { what: 'the permit to run out' });
  expect((await redis.keys(`${prefix}:permits*`)).toSorted()).toEqual(
    ['', ':tape', ':tape:holders'].map((end) => `${prefix}:permits${end}`),
  );
});

test('a permit that is granted after its asker has ended is given back, and not renewed', async () => {
  const { redis, prefix, made } = await holders(2, 60_000);
  const [gone, other] = made;
  const late = gone?.take('dataset:1', 1);
  await gone?.end();
  expect(await late).toBe(false);
  expect(await redis.keys(`${prefix}:permits*`)).toEqual([]);
  expect(await other?.take('dataset:1', 1)).toBe(true);
});

test.each([
  ['late', -3_600_000],
  ['early', 3_600_000],
])(
  'a host whose clock is an hour %s neither takes what is held nor loses what it holds',
  async (_, shift) => {
    const { redis, prefix, made } = await holders(3, 30_000);
    const [here, there, third] = made;
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const now = Date.now();
    expect(await here?.take('tape', 1)).toBe(true);
    vi.setSystemTime(now + shift);
    expect(await there?.take('tape', 1)).toBe(false);
    expect(await there?.take('other', 1)).toBe(true);
    expect(await sweepPermits(redis, prefix)).toBe(0);
    vi.setSystemTime(now);
    expect(await third?.take('other', 1)).toBe(false);
    expect(await sweepPermits(redis, prefix)).toBe(0);
  },
);

test('whose permit ran out and was given to another is told once, and gives back nothing of the other', async () => {
  const { redis, prefix, made, lost } = await holders(2, 300);
  const [first, second] = made;
  expect(await first?.take('tape', 1)).toBe(true);
  // As after a standstill: its entry is gone, and another one was faster.
  await redis.del(`${prefix}:permits:tape`);
  await redis.zadd(`${prefix}:permits:tape`, Date.now() + 60_000, 'task-faster');
  await until(() => lost.length > 0, { what: 'the next renewal' });
  expect(await first?.end()).toEqual([]);
  expect(await second?.take('tape', 1)).toBe(false);
  expect(lost).toEqual(['task-0 tape 1']);
});

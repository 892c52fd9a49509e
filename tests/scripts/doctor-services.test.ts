import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Finding } from '../../scripts/doctor/finding.ts';
import { judgeInfo, judgeLatency } from '../../scripts/doctor/redis.ts';
import { openStore } from '../../workers/store.ts';
import { doctor } from '../support/doctor.ts';
import { startEvictingRedis } from '../support/evicting-redis.ts';
import { startGuardedRedis } from '../support/guarded-redis.ts';
import { makePlace } from '../support/place.ts';

const levels = (findings: readonly Finding[]): Record<string, string> =>
  Object.fromEntries(findings.map(({ id, level }) => [id, level]));

describe('Redis', () => {
  test('a wrong eviction policy is a problem and no persistence a warning', async () => {
    const place = await makePlace({ queue: { url: null } });
    await startEvictingRedis(place);
    const { code, level, of } = await doctor(place, ['--only', 'redis'], { REDIS_URL: '' });
    expect({ code, level }).toEqual({ code: 1, level: 'problem' });
    expect(of('redis.eviction')).toMatchObject({ level: 'problem', seen: 'maxmemory-policy allkeys-lru' });
    expect(of('redis.eviction')?.remedy).toContain('noeviction');
    expect(of('redis.persistence')?.level).toBe('warning');
    expect(of('redis.version')?.level).toBe('ok');
  });

  test('one that takes connections and never answers is a problem, not a doctor that hangs', async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const place = await makePlace();
    const { code, findings } = await doctor(place, ['--only', 'redis'], {
      REDIS_URL: `redis://user:secret-word@127.0.0.1:${port}`,
    });
    expect(code).toBe(1);
    expect(levels(findings)).toEqual({ 'redis.reachable': 'problem' });
    expect(JSON.stringify(findings)).not.toContain('secret-word');
  });

  test('one that wants a password is told as that, with where it is set', async () => {
    const place = await makePlace();
    const { url } = await startGuardedRedis(place);
    const { code, of } = await doctor(place, ['--only', 'redis'], { REDIS_URL: url });
    expect(code).toBe(1);
    expect(of('redis.reachable')?.seen).toContain('Redis wants a password: NOAUTH');
    expect(of('redis.reachable')?.remedy).toContain('Set QUEUE_USER and QUEUE_PASS');
  });

  test('a replica, an old version, a full memory and a failed append are problems', () => {
    const bad = new Map([
      ['redis_version', '6.0.16'],
      ['maxmemory_policy', 'noeviction'],
      ['aof_enabled', '1'],
      ['aof_last_write_status', 'err'],
      ['used_memory', '96'],
      ['maxmemory', '100'],
      ['role', 'slave'],
    ]);
    expect(levels(judgeInfo(bad))).toEqual({
      'redis.version': 'problem',
      'redis.eviction': 'ok',
      'redis.persistence': 'problem',
      'redis.memory': 'problem',
      'redis.role': 'problem',
    });
    const good = new Map([...bad, ['redis_version', '7.0.15'], ['aof_last_write_status', 'ok']]);
    expect(levels(judgeInfo(new Map([...good, ['used_memory', '10'], ['role', 'master']])))).toEqual({
      'redis.version': 'ok',
      'redis.eviction': 'ok',
      'redis.persistence': 'ok',
      'redis.memory': 'ok',
      'redis.role': 'ok',
    });
  });

  test('the median of the latency decides, the worst is told', () => {
    expect(judgeLatency([1, 1, 900], 10)).toMatchObject({
      level: 'ok',
      seen: expect.stringContaining('900.00'),
    });
    expect(judgeLatency([11, 11, 11], 10).level).toBe('warning');
    expect(judgeLatency([101, 101, 1], 10).level).toBe('problem');
  });
});

describe('the catalog', () => {
  test('a file of a newer release, a damaged one, and one without wal are told apart', async () => {
    const newer = await makePlace();
    await (await openStore(newer.config)).close();
    const file = new DatabaseSync(newer.config.catalog.path);
    file.exec('pragma user_version = 999');
    file.close();
    const plain = await makePlace();
    const other = new DatabaseSync(plain.config.catalog.path);
    other.exec('create table one (a)');
    other.close();
    const damaged = await makePlace();
    writeFileSync(
      damaged.config.catalog.path,
      'this is no database at all, but long enough to be read as one',
    );
    const only = ['--only', 'catalog,integrity'];
    const [a, b, c] = await Promise.all([doctor(newer, only), doctor(plain, only), doctor(damaged, only)]);
    expect(a.of('catalog.schema')).toMatchObject({ level: 'problem', seen: 'version 999' });
    expect(b.of('catalog.wal')).toMatchObject({ level: 'warning', seen: 'journal mode delete' });
    expect(b.of('catalog.schema')?.level).toBe('warning');
    expect(c.of('catalog.opens')?.level).toBe('problem');
    expect(c.of('catalog.integrity')?.level).toBe('problem');
    expect([a.code, b.code, c.code]).toEqual([1, 0, 1]);
  });

  test('one that somebody writes to without end does not take our write', async () => {
    const place = await makePlace();
    await (await openStore(place.config)).close();
    const blocker = new DatabaseSync(place.config.catalog.path);
    onTestFinished(() => blocker.close());
    blocker.exec('begin immediate');
    const { of } = await doctor(place, ['--only', 'catalog']);
    expect(of('catalog.round_trip')).toMatchObject({ level: 'problem', seen: 'database is locked' });
    expect(of('catalog.wal')?.level).toBe('ok');
  });

  test('looking at a file changes nothing in it, and a missing one is not made', async () => {
    const place = await makePlace();
    const { code, of } = await doctor(place, ['--only', 'catalog,integrity']);
    expect(code).toBe(0);
    expect(of('catalog.opens')?.seen).toContain('is not there yet');
    expect(existsSync(place.config.catalog.path)).toBe(false);
  });
});

import { performance } from 'node:perf_hooks';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { coerceError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { parseInfo } from '../../workers/queue/fitness.ts';
import { bytes, counted } from '../cli/format.ts';
import { judgeClock } from './clock.ts';
import { compareVersions, type Finding, finding, ok, problem, warning } from './finding.ts';
import { sentinelFindings } from './sentinels.ts';

const CONNECT_SECONDS = 5;
const ECHOS = 100;
/** BullMQ refuses older ones; the suite runs against 7. */
const OLDEST = '6.2.0';
const TESTED = '7.0.0';

export type RedisInfo = ReadonlyMap<string, string>;

export async function* redisFindings(config: Config): AsyncGenerator<Finding> {
  yield* sentinelFindings(config);
  const expected = `an answer within ${CONNECT_SECONDS} s`;
  let redis: Redis;
  try {
    const log = createLogger('doctor', {}, { to: 2, level: 'fatal' });
    redis = await connectRedis(config, { log, wait_seconds: CONNECT_SECONDS, name: 'longshore-doctor' });
  } catch (error) {
    const { message, hint } = coerceError(error);
    yield problem('redis.reachable', { seen: message, expected, remedy: hint });
    return;
  }
  try {
    const own = config.queue.url === null ? 'the embedded one' : 'queue.url';
    yield ok('redis.reachable', { seen: `answers (${own})`, expected });
    const before = Date.now();
    const [seconds, micros] = await redis.time();
    const theirs = Number(seconds) * 1000 + Number(micros) / 1000;
    yield judgeClock(
      'clock.redis',
      'Redis',
      { before, theirs, after: Date.now() },
      config.doctor.clock_skew_seconds,
    );
    yield* judgeInfo(parseInfo(await redis.info()));
    yield judgeLatency(await echoTimes(redis), config.doctor.redis_latency_ms);
  } finally {
    redis.disconnect();
  }
}

/** All that INFO tells; managed servers forbid CONFIG. */
export function judgeInfo(info: RedisInfo): Finding[] {
  return [
    judgeVersion(info),
    judgeEviction(info),
    judgePersistence(info),
    judgeMemory(info),
    judgeRole(info),
  ];
}

function judgeVersion(info: RedisInfo): Finding {
  const seen = info.get('redis_version') ?? 'unknown';
  const level =
    compareVersions(seen, OLDEST) < 0 ? 'problem' : compareVersions(seen, TESTED) < 0 ? 'warning' : 'ok';
  return finding(level, 'redis.version', {
    seen,
    expected: `${TESTED} or newer; older than ${OLDEST} does not work`,
    remedy: 'Upgrade Redis.',
  });
}

function judgeEviction(info: RedisInfo): Finding {
  const seen = info.get('maxmemory_policy') ?? 'unknown';
  return finding(seen === 'noeviction' || seen === 'unknown' ? 'ok' : 'problem', 'redis.eviction', {
    seen: `maxmemory-policy ${seen}`,
    expected: 'noeviction: jobs are never dropped for memory',
    remedy:
      'Set `maxmemory-policy noeviction` in redis.conf (or with CONFIG SET); workers refuse to start without it.',
  });
}

function judgePersistence(info: RedisInfo): Finding {
  const on = (key: string): boolean => info.get(key) === '1';
  const failed = ['aof_last_write_status', 'aof_last_bgrewrite_status', 'rdb_last_bgsave_status'].filter(
    (key) => info.has(key) && info.get(key) !== 'ok',
  );
  const saved = Number(info.get('rdb_last_save_time') ?? 0);
  const snapshots = Number(info.get('rdb_saves') ?? 0) > 0 || saved > startedAt(info) + 1;
  const kept = on('aof_enabled')
    ? 'appends to a file'
    : snapshots
      ? 'snapshots only'
      : 'keeps nothing on disk';
  const words = {
    seen: failed.length === 0 ? kept : `${kept}; ${failed.join(', ')} failed`,
    expected: 'appends to a file (appendonly yes), without errors',
  };
  if (failed.length > 0)
    return problem('redis.persistence', {
      ...words,
      remedy:
        'Look at the log of Redis and at the space on its disk: what it holds now is lost with its process.',
    });
  return finding(on('aof_enabled') ? 'ok' : 'warning', 'redis.persistence', {
    ...words,
    remedy:
      'Set `appendonly yes` and `appendfsync everysec`. Without it a restart loses delays and positions; jobs come back from the records.',
  });
}

const startedAt = (info: RedisInfo): number =>
  Math.floor(Date.now() / 1000) - Number(info.get('uptime_in_seconds') ?? 0);

/** noeviction means that a full Redis refuses to write: the fleet stands still then. */
function judgeMemory(info: RedisInfo): Finding {
  const used = Number(info.get('used_memory') ?? 0);
  const limit = Number(info.get('maxmemory') ?? 0);
  const total = Number(info.get('total_system_memory') ?? 0);
  const room = limit > 0 ? limit : total;
  const share = room > 0 ? used / room : 0;
  const of = limit > 0 ? `of maxmemory ${bytes(limit)}` : `of ${bytes(total)} of its host, no maxmemory`;
  const level = share >= 0.95 ? 'problem' : share >= 0.75 ? 'warning' : 'ok';
  return finding(level, 'redis.memory', {
    seen: `${bytes(used)} (${Math.round(share * 100)} %) ${of}`,
    expected: 'less than 75 % in use',
    remedy: 'Raise maxmemory or move what else lives in this Redis: a full one takes no more jobs.',
  });
}

function judgeRole(info: RedisInfo): Finding {
  const role = info.get('role') ?? 'unknown';
  const replicas = info.get('connected_slaves') ?? '0';
  const words = {
    seen: role === 'master' ? `primary, ${counted(Number(replicas), 'replica')}` : role,
    expected: 'a primary, not a cluster',
  };
  if (info.get('cluster_enabled') === '1')
    return warning('redis.role', {
      ...words,
      seen: `${words.seen}, in cluster mode`,
      remedy:
        'Put the prefix into braces ({longshore}), so that all keys lie in one slot, or use a single Redis.',
    });
  return finding(role === 'slave' ? 'problem' : 'ok', 'redis.role', {
    ...words,
    remedy: 'Point REDIS_URL to the primary; a replica takes no writes.',
  });
}

async function echoTimes(redis: Redis): Promise<number[]> {
  const times: number[] = [];
  for (let at = 0; at < ECHOS; at += 1) {
    const begun = performance.now();
    // Not PING: a Redis that cannot write to its disk refuses it, as if it were a write.
    await redis.echo('');
    times.push(performance.now() - begun);
  }
  return times;
}

export function judgeLatency(times: readonly number[], limit_ms: number): Finding {
  const sorted = times.toSorted((one, other) => one - other);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const slowest = sorted.at(-1) ?? 0;
  const level = median <= limit_ms ? 'ok' : median <= 10 * limit_ms ? 'warning' : 'problem';
  return finding(level, 'redis.latency', {
    seen: `median ${median.toFixed(2)} ms, worst ${slowest.toFixed(2)} ms of ${times.length} ECHOs`,
    expected: `median of at most ${limit_ms} ms (doctor.redis_latency_ms)`,
    remedy:
      'Bring Redis and the workers nearer to each other, or look at what else loads it: SLOWLOG GET, LATENCY DOCTOR.',
  });
}

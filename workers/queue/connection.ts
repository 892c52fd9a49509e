import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { embeddedRedisUrl } from './embedded.ts';

/** A line about an absent Redis every so often, not one per refused connection (there are several each second). */
const COMPLAIN_EVERY_MS = 5_000;

export interface ConnectOptions {
  log: Logger;
  /** How long to wait for a Redis that does not answer; Infinity for the fleet's processes, which outlive it. */
  wait_seconds?: number;
  /** Shown by CLIENT LIST. */
  name?: string;
}

/**
 * A connection that is ready. It reconnects by itself for ever: commands given while Redis is away wait for it.
 *
 * @throws E_REDIS_UNAVAILABLE when Redis does not answer within `wait_seconds`
 */
export async function connectRedis(config: Config, options: ConnectOptions): Promise<Redis> {
  const deadline = Date.now() + (options.wait_seconds ?? 30) * 1000;
  const url = await redisUrl(config, options.log, deadline);
  const client = new Redis(redisOptions(config, url, options.name));
  reportOutages(client, shownUrl(url), options.log);
  await untilReady(client, url, deadline);
  return client;
}

/** Options for BullMQ as well: it needs `maxRetriesPerRequest: null`, or its blocking reads fail at each restart. */
export function redisOptions(config: Config, url: string, name?: string): RedisOptions {
  return {
    ...addressOf(url),
    ...(config.queue.username === null ? {} : { username: config.queue.username }),
    ...(config.queue.password === null ? {} : { password: config.queue.password }),
    ...(name === undefined ? {} : { connectionName: name }),
    maxRetriesPerRequest: null,
    // A peer that vanished without a word (a switch, a firewall's table) leaves a socket that looks open: without this,
    // commands would wait on it until the kernel gives up, which takes a quarter of an hour.
    socketTimeout: config.queue.silence_seconds * 1000,
    retryStrategy: (times) => Math.min(times * 100, 2_000),
    // A primary that became a replica answers READONLY for ever on the old connection; 2 = reconnect and send again.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
  };
}

function addressOf(url: string): RedisOptions {
  if (url.startsWith('unix://')) return { path: url.slice('unix://'.length) };
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  return {
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? 6379 : Number(port),
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(pathname.length > 1 ? { db: Number(pathname.slice(1)) } : {}),
    ...(protocol === 'rediss:' ? { tls: {} } : {}),
  };
}

/** Without its user and password. */
function shownUrl(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//');
}

/** The configured address, or the embedded server's once it has written it. */
async function redisUrl(config: Config, log: Logger, deadline: number): Promise<string> {
  if (config.queue.url !== null) return config.queue.url;
  const folder = join(config.state_dir, 'redis');
  for (let complain = 0; ; await sleep(100)) {
    const url = embeddedRedisUrl(folder);
    if (url !== null) return url;
    if (Date.now() >= deadline) {
      throw new LongshoreError(
        'E_REDIS_UNAVAILABLE',
        `the embedded Redis of ${folder} has not been started; expected its address in ${join(folder, 'url')}`,
        { fields: { folder } },
      );
    }
    if (Date.now() >= complain) {
      log.warn({ folder }, 'waiting for the embedded Redis to be started');
      complain = Date.now() + COMPLAIN_EVERY_MS;
    }
  }
}

function reportOutages(client: Redis, url: string, log: Logger): void {
  let down = false;
  let complain = 0;
  client.on('error', (error) => {
    if (Date.now() < complain) return;
    down = true;
    complain = Date.now() + COMPLAIN_EVERY_MS;
    log.warn({ redis: url, reason: error.message }, 'Redis does not answer; waiting for it');
  });
  client.on('ready', () => {
    if (down) log.info({ redis: url }, 'Redis answers again');
    down = false;
    complain = 0;
  });
}

async function untilReady(client: Redis, url: string, deadline: number): Promise<void> {
  if (client.status === 'ready') return;
  const waiting = new AbortController();
  const ready = new Promise<true>((resolve) => {
    client.once('ready', () => resolve(true));
  });
  const timeout =
    deadline === Infinity
      ? ready
      : sleep(Math.max(0, deadline - Date.now()), false, { signal: waiting.signal }).catch(() => false);
  const answered = await Promise.race([ready, timeout]);
  waiting.abort();
  if (answered) return;
  client.disconnect();
  throw new LongshoreError('E_REDIS_UNAVAILABLE', `no answer from Redis at ${shownUrl(url)}`, {
    fields: { redis: shownUrl(url) },
  });
}

/**
 * For those who would rather refuse than wait: commands that are given while Redis is away wait for it, however long.
 *
 * @throws E_REDIS_UNAVAILABLE when it does not answer within `wait_seconds`
 */
export async function assertAnswers(client: Redis, wait_seconds: number): Promise<void> {
  const waiting = new AbortController();
  const timeout = sleep(wait_seconds * 1000, false, { signal: waiting.signal }).catch(() => false);
  const answer = client.ping().then(
    () => true,
    () => false,
  );
  const answers = await Promise.race([answer, timeout]);
  waiting.abort();
  if (!answers) throw new LongshoreError('E_REDIS_UNAVAILABLE', 'Redis does not answer');
}

/**
 * Refuses a Redis that may forget jobs under memory pressure, and warns about one that keeps nothing on disk (its
 * jobs come back from the records, but delays and positions are lost). Read from INFO, because managed servers
 * forbid CONFIG.
 */
export async function checkRedis(client: Redis, log: Logger): Promise<void> {
  const facts = parseInfo(`${await client.info('memory')}\n${await client.info('persistence')}`);
  const policy = facts.get('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    throw new LongshoreError(
      'E_REDIS_UNAVAILABLE',
      `Redis may drop jobs: its maxmemory-policy is "${policy}", expected "noeviction"`,
      {
        fields: { maxmemory_policy: policy },
        hint: 'Set `maxmemory-policy noeviction` in redis.conf (or with CONFIG SET), then start again.',
      },
    );
  }
  if (facts.get('aof_enabled') === '0') {
    log.warn(
      'Redis does not append to disk (appendonly no): after a crash, jobs are put back from the records',
    );
  }
}

/** The lines of INFO by their keys. */
export function parseInfo(text: string): Map<string, string> {
  const pairs = text.split(/\r?\n/).map((line) => line.split(':', 2));
  return new Map(pairs.flatMap(([key, value]) => (key && value !== undefined ? [[key, value]] : [])));
}

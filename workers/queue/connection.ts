import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { coerceError, LongshoreError } from '../errors.ts';
import { deniedByRedis } from '../redis-answer.ts';
import type { Logger } from '../log.ts';
import { addressOf, noSentinelHelps, ofSentinel } from './address.ts';
import { embeddedFolder, embeddedRedisUrl } from './embedded.ts';

/** A line about an absent Redis every so often, not one per refused connection (there are several each second). */
const COMPLAIN_EVERY_MS = 5_000;

export interface ConnectOptions {
  log: Logger;
  /**
   * How long to wait for a Redis that does not answer, and to send again what a read-only replica refuses; Infinity for the
   * fleet's processes, which outlive it.
   */
  wait_seconds?: number;
  /**
   * Of a process that stays: its log says that it waits. A command says what it waited for in vain when it gives up, and
   * nothing before.
   */
  stays?: boolean;
  /** Shown by CLIENT LIST. */
  name?: string;
}

/**
 * A connection that is ready. It reconnects by itself for ever: commands given while Redis is away wait for it.
 *
 * @throws E_REDIS_UNAVAILABLE when Redis does not answer within `wait_seconds`, or at once when it refuses user or password
 */
export async function connectRedis(config: Config, options: ConnectOptions): Promise<Redis> {
  const { log, name, wait_seconds = 30, stays = wait_seconds === Infinity } = options;
  const deadline = Date.now() + wait_seconds * 1000;
  const url = await redisUrl(config, stays ? log : null, deadline);
  const client = new Redis(redisOptions(config, url, { name, wait_seconds }));
  const reason = reasonsOf(client);
  reportOutages(client, { shown: () => shownUrl(currentUrl(config, url)), reason, log, stays });
  await untilReady(client, { url: shownUrl(url), reason, deadline });
  return client;
}

/** Options for BullMQ as well: it needs `maxRetriesPerRequest: null`, or its blocking reads fail at each restart. */
export function redisOptions(
  config: Config,
  url: string,
  {
    name,
    wait_seconds = Infinity,
  }: Pick<ConnectOptions, 'wait_seconds'> & { name?: string | undefined } = {},
): RedisOptions {
  const { url: named, username, password } = config.queue;
  return {
    ...addressOf(config, url),
    // The embedded Redis has a password of its own, in its address.
    ...(named === null || username === null ? {} : { username }),
    ...(named === null || password === null ? {} : { password }),
    ...(name === undefined ? {} : { connectionName: name }),
    maxRetriesPerRequest: null,
    // A peer that vanished without a word (a switch, a firewall's table) leaves a socket that looks open: without this,
    // commands would wait on it until the kernel gives up, which takes a quarter of an hour.
    socketTimeout: config.queue.silence_seconds * 1000,
    // Called on the options of its own connection, which BullMQ duplicates with it.
    retryStrategy(this: RedisOptions, times: number) {
      if (named === null) Object.assign(this, addressOf(config, currentUrl(config, url)));
      return Math.min(times * 100, 2_000);
    },
    reconnectOnError: leaveReplica(wait_seconds * 1000),
  };
}

/** So long after the last READONLY it is another failover. A connection tries again every two seconds at least. */
const ANOTHER_FAILOVER_MS = 10_000;

/**
 * A primary that became a replica answers READONLY for ever on the old connection. 2: connect anew and send it again; 1: the
 * same, but whoever gave the command is answered, because it cannot wait any longer.
 */
function leaveReplica(wait_ms: number): (error: Error) => false | 1 | 2 {
  let since = 0;
  let last = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (!error.message.startsWith('READONLY')) return false;
    const now = performance.now();
    if (now - last > ANOTHER_FAILOVER_MS) since = now;
    last = now;
    return now - since < wait_ms ? 2 : 1;
  };
}

/** An embedded server whose folder was lost, or whose port was taken, is another one: port and password are new. */
function currentUrl(config: Config, last: string): string {
  return config.queue.url ?? embeddedRedisUrl(embeddedFolder(config)) ?? last;
}

/** Without its user and password. */
function shownUrl(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//');
}

/** The configured address, or the embedded server's once it has written it. */
async function redisUrl(config: Config, log: Logger | null, deadline: number): Promise<string> {
  if (config.queue.url !== null) return config.queue.url;
  const folder = embeddedFolder(config);
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
    if (log !== null && Date.now() >= complain) {
      log.warn({ folder }, 'waiting for the embedded Redis to be started');
      complain = Date.now() + COMPLAIN_EVERY_MS;
    }
  }
}

function reportOutages(
  client: Redis,
  { shown, reason, log, stays }: { shown: () => string; reason: Reason; log: Logger; stays: boolean },
): void {
  let down = false;
  let complain = stays ? 0 : Infinity;
  client.on('error', (error) => {
    if (Date.now() < complain) return;
    down = true;
    complain = Date.now() + COMPLAIN_EVERY_MS;
    log.warn({ redis: shown(), reason: reason(error) }, 'Redis does not answer; waiting for it');
  });
  client.on('ready', () => {
    if (down) log.info({ redis: shown() }, 'Redis answers again');
    down = false;
    complain = 0;
  });
}

/** Null: nobody has said anything yet. */
type Reason = (error: NodeJS.ErrnoException | null) => string | null;

/**
 * Of a name with several addresses, none of which answers, there is a code and no message. Of Sentinels that were all
 * asked in vain, one error says just that; what they said was told before.
 */
function reasonsOf(client: Redis): Reason {
  const said = new Map<string, string>();
  client.on('sentinelError', ({ message }: Error) => {
    const [sentinel, reason] = ofSentinel(message, client.options.sentinelTLS !== undefined);
    said.set(sentinel, reason);
  });
  client.on('ready', () => said.clear());
  return (error) => {
    const all = [...said].map((one) => one.join(': ')).join('; ');
    if (error === null) return all === '' ? null : `no Sentinel has named the primary yet (${all})`;
    return all !== '' && noSentinelHelps(error)
      ? `no Sentinel names the primary (${all})`
      : error.message || error.code || error.name;
  };
}

/** Of user and password no wait makes right ones. */
async function untilReady(
  client: Redis,
  { url, reason, deadline }: { url: string; reason: Reason; deadline: number },
): Promise<void> {
  if (client.status === 'ready') return;
  let last: NodeJS.ErrnoException | null = null;
  const over = Promise.withResolvers<boolean>();
  client.once('ready', () => over.resolve(true));
  client.on('error', (error) => {
    last = error;
    if (deniedByRedis(error)) over.resolve(false);
  });
  const patience_ms = deadline - Date.now();
  const timer =
    patience_ms === Infinity ? undefined : setTimeout(() => over.resolve(false), Math.max(0, patience_ms));
  const ready = await over.promise;
  clearTimeout(timer);
  if (ready) return;
  client.disconnect();
  throw notReached(url, last, reason);
}

/** Without `cause`: what Redis refuses carries the command that it refuses, with the password. */
function notReached(url: string, error: NodeJS.ErrnoException | null, reason: Reason): LongshoreError {
  const fields = { redis: url, reason: reason(error) };
  const why = fields.reason === null ? '' : `: ${fields.reason}`;
  if (error === null)
    return new LongshoreError('E_REDIS_UNAVAILABLE', `no answer from Redis at ${url}${why}`, { fields });
  if (error.name === 'ReplyError') {
    const { message, hint } = coerceError(error);
    return new LongshoreError('E_REDIS_UNAVAILABLE', `${message} (${url})`, { fields, hint });
  }
  const hint = hintOf(error);
  return new LongshoreError('E_REDIS_UNAVAILABLE', `no answer from Redis at ${url}${why}`, {
    fields,
    ...(hint === null ? {} : { hint }),
  });
}

function hintOf(error: NodeJS.ErrnoException): string | null {
  if (noSentinelHelps(error))
    return 'Start the Sentinels, or correct REDIS_URL, which names them and what they watch, or QUEUE_SENTINEL_PASS.';
  const unknown = error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN';
  return unknown ? 'This host does not know that name: correct REDIS_URL, or the name service.' : null;
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
    (error: Error) => {
      // One that cannot write to its disk refuses this too, and says why.
      if (error.name === 'ReplyError') throw coerceError(error);
      return false;
    },
  );
  const answers = await Promise.race([answer, timeout]);
  waiting.abort();
  if (!answers) throw new LongshoreError('E_REDIS_UNAVAILABLE', 'Redis does not answer');
}

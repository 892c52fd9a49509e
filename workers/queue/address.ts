import type { RedisOptions } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { parseRedisUrl } from '../../config/redis-url.ts';
import { LongshoreError } from '../errors.ts';

/**
 * One Sentinel that takes a connection and does not answer must not hide the others: a command waits five seconds in all,
 * and two of three may hang. A lost packet is sent again after one.
 */
const SENTINEL_MS = 1_500;

/**
 * What of a connection follows from the address of the Redis. Of one that Sentinels watch, each new connection asks them
 * where the primary is.
 *
 * @throws E_CONFIG
 */
export function addressOf({ queue }: Config, url: string): RedisOptions {
  const address = parseRedisUrl(url);
  if (address === null) throw new LongshoreError('E_CONFIG', 'queue.url is not the address of a Redis');
  if (address.kind === 'socket') return { path: address.path };
  const { kind, tls, ...place } = address;
  if (kind === 'server') return { ...place, ...(tls ? { tls: {} } : {}) };
  const { sentinel_username, sentinel_password } = queue;
  return {
    ...place,
    ...(sentinel_username === null ? {} : { sentinelUsername: sentinel_username }),
    ...(sentinel_password === null ? {} : { sentinelPassword: sentinel_password }),
    sentinelCommandTimeout: SENTINEL_MS,
    connectTimeout: SENTINEL_MS,
    ...(tls ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true } : {}),
  };
}

export const noSentinelHelps = ({ message }: Error): boolean =>
  message.startsWith('All sentinels are unreachable');

/** Which Sentinel, and why it is of no help; ioredis has one sentence for both, and keeps to itself what TLS says. */
export function ofSentinel(message: string, tls: boolean): [string, string] {
  const [, sentinel = 'one', reason = message] = /sentinel (\S+) because (.*)$/.exec(message) ?? [];
  const closed = tls ? 'takes no connection, or its certificate is not trusted here' : 'takes no connection';
  return [sentinel, reason === 'Connection is closed.' ? closed : reason];
}

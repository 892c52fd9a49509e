/**
 * The addresses of a Redis: `redis://` and `rediss://` (the scheme that IANA lists), `unix://` and a path, and, for one that
 * Sentinels watch, `redis+sentinel://user:password@host:port,host:port/name/db`, as the Python packages for it write it.
 */
import { z } from 'zod';

export interface RedisUser {
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls: boolean;
}

export type RedisAddress =
  | { readonly kind: 'socket'; readonly path: string }
  | ({ readonly kind: 'server'; readonly host: string; readonly port: number } & RedisUser)
  | ({ readonly kind: 'sentinel'; readonly sentinels: Place[]; readonly name: string } & RedisUser);

interface Place {
  readonly host: string;
  readonly port: number;
}

const SERVER_PORT = 6379;
const SENTINEL_PORT = 26379;

/** Null: it is none of them. */
export function parseRedisUrl(url: string): RedisAddress | null {
  if (url.startsWith('unix://')) return { kind: 'socket', path: url.slice('unix://'.length) };
  try {
    return /^rediss?\+sentinel:/.test(url) ? sentinelOf(url) : serverOf(url);
  } catch {
    return null;
  }
}

const SERVER = 'redis://user:password@host:port, with letters as / # ? @ % of a password written as %2F';
const SENTINEL =
  'redis+sentinel://user:password@host:port,host:port/name of the primary/database, the user being that of the Redis';

export const redisUrl = z
  .string()
  .regex(
    /^(rediss?(\+sentinel)?|unix):\/\//,
    'expected redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix://',
  )
  .refine((url) => !url.startsWith('redis') || parseRedisUrl(url) !== null, {
    error: ({ input }) => `expected ${/^rediss?\+/.test(String(input)) ? SENTINEL : SERVER}`,
  });

/** A password with a slash in it ends the host's name too early, and its end would be told to whoever has that name. */
function serverOf(url: string): RedisAddress | null {
  const parsed = new URL(url);
  const { protocol, hostname, port, pathname, search, hash } = parsed;
  if (!/^rediss?:$/.test(protocol) || !/^\/?\d*$/.test(pathname)) return null;
  if (search.includes('@') || hash !== '') return null;
  return {
    kind: 'server',
    host: bare(hostname),
    port: port === '' ? SERVER_PORT : Number(port),
    ...userOf(parsed, pathname.slice(1)),
    tls: protocol === 'rediss:',
  };
}

/** Not one host but several, so the parts between them are taken one by one. */
function sentinelOf(url: string): RedisAddress | null {
  const parts = /^(rediss?)\+sentinel:\/\/((?:[^/?#@]*@)?)([^/?#@]+)\/([^/?#@]+)(?:\/(\d*))?$/.exec(url);
  if (parts === null) return null;
  const [, scheme, user = '', hosts = '', name = '', db = ''] = parts;
  const sentinels = hosts.split(',').map((host) => {
    const { hostname, port } = new URL(`redis://${host}`);
    if (hostname === '') throw new Error(`${host} is no host`);
    return { host: bare(hostname), port: port === '' ? SENTINEL_PORT : Number(port) };
  });
  return {
    kind: 'sentinel',
    sentinels,
    name: decodeURIComponent(name),
    ...userOf(new URL(`redis://${user}host`), db),
    tls: scheme === 'rediss',
  };
}

const bare = (hostname: string): string => hostname.replace(/^\[(.*)\]$/, '$1');

const userOf = ({ username, password }: URL, db: string) => ({
  ...(username === '' ? {} : { username: decodeURIComponent(username) }),
  ...(password === '' ? {} : { password: decodeURIComponent(password) }),
  ...(db === '' ? {} : { db: Number(db) }),
});

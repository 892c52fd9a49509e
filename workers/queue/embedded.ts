import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, realpathSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';

/**
 * The Redis that Longshore brings along when REDIS_URL is not set: the system's `redis-server` on a free loopback
 * port, appending every command to a file under `<state_dir>/redis`, never evicting (BullMQ needs both). Port and password
 * are kept across restarts, so that clients that were connected find it again.
 *
 * The port is open to every user of this host, who could steer the fleet by it: hence the password, which stands in a
 * folder that is closed to others, and reaches the server by its stdin, since arguments are seen by all.
 */
export interface EmbeddedRedis {
  /** With its password. */
  readonly url: string;
  /** For a log. */
  readonly shown_url: string;
  readonly pid: number;
  /** Resolves when the server is gone, however that came about. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** SIGTERM (Redis saves and leaves), and waits. */
  stop(): Promise<void>;
}

/** Where it keeps its data, its address and its log. */
export const embeddedFolder = ({ state_dir }: Pick<Config, 'state_dir'>): string => join(state_dir, 'redis');

const urlFile = (folder: string): string => join(folder, 'url');
/** Process id of whoever started the server. */
const ownerFile = (folder: string): string => join(folder, 'owner');

/** @param options.signal ends the start, and the server with it */
export async function startEmbeddedRedis(
  folder: string,
  options: { persist?: boolean; signal?: AbortSignal } = {},
): Promise<EmbeddedRedis> {
  const { signal } = options;
  makeClosed(folder);
  await endStray(folder);
  const last = lastAddress(folder);
  const port = await freePort(last.port);
  // Whoever has the old port now may have been told the old password by a client that came back.
  const known = port === last.port ? last.password : '';
  const password = known === '' ? randomBytes(24).toString('hex') : known;
  // With the name of the user: without one, `redis-cli -u` says an empty name, which Redis refuses.
  const url = `redis://default:${password}@127.0.0.1:${port}`;
  const persist = options.persist ?? true;
  signal?.throwIfAborted();
  const server = spawn(
    'redis-server',
    [
      '-',
      `--port ${port} --bind 127.0.0.1 --daemonize no --appendfsync everysec --maxmemory-policy noeviction`.split(
        ' ',
      ),
      ['--dir', folder, '--logfile', join(folder, 'redis.log'), '--save', ''],
      ['--appendonly', persist ? 'yes' : 'no'],
    ].flat(),
    { stdio: ['pipe', 'ignore', 'ignore'] },
  );
  server.stdin.on('error', () => undefined); // It ended before it had read it, or never began; `exited` and `failed` tell.
  server.stdin.end(`requirepass ${password}\n`);
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    server.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const failed = new Promise<never>((_, reject) => {
    server.once('error', (cause) => {
      reject(
        new LongshoreError(
          'E_TOOL_MISSING',
          'redis-server cannot be started; it is needed because REDIS_URL is not set',
          {
            hint: 'Install it (Debian: apt-get install redis-server) or set REDIS_URL.',
            cause,
          },
        ),
      );
    });
  });
  signal?.addEventListener('abort', () => server.kill('SIGTERM'), { once: true });
  await Promise.race([answers(url, exited, folder), failed]);
  writeFileSync(ownerFile(folder), String(process.pid));
  writeFileSync(`${urlFile(folder)}.new`, url, { mode: 0o660 });
  renameSync(`${urlFile(folder)}.new`, urlFile(folder));
  return {
    url,
    shown_url: `redis://127.0.0.1:${port}`,
    pid: server.pid as number,
    exited,
    stop: async () => {
      server.kill('SIGTERM');
      await exited;
    },
  };
}

/** Address of the embedded Redis of this state folder, or null before its first start. */
export function embeddedRedisUrl(folder: string): string | null {
  try {
    return readFileSync(urlFile(folder), 'utf8').trim();
  } catch {
    return null; // Not started yet: the caller waits or says so.
  }
}

/**
 * A starter that was killed leaves its server behind, and two servers that append to one file ruin it. A server whose
 * starter still lives is left alone: that is a second start on one state folder.
 *
 * @throws E_REDIS_UNAVAILABLE when the folder is served by a living process
 */
async function endStray(folder: string): Promise<void> {
  const url = embeddedRedisUrl(folder);
  if (url === null) return;
  const client = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0, lazyConnect: true });
  client.on('error', () => undefined); // Nobody listens there: the usual case.
  try {
    await client.connect();
    const [, dir] = await client.config('GET', 'dir');
    if (dir !== realpathSync(folder)) return; // The port was given to somebody else.
    const pid = /process_id:(\d+)/.exec(await client.info('server'))?.[1] ?? '';
    const owner = readFileSync(ownerFile(folder), 'utf8');
    if (parentOf(pid) === owner) {
      throw new LongshoreError(
        'E_REDIS_UNAVAILABLE',
        `the Redis of ${folder} runs already, started by process ${owner}`,
        { hint: 'One state folder has one Redis. Stop the other start, or set LONGSHORE_HOME.' },
      );
    }
    process.kill(Number(pid), 'SIGTERM');
    while (parentOf(pid) !== null) await sleep(20);
  } catch (error) {
    if (error instanceof LongshoreError) throw error;
  } finally {
    client.disconnect();
  }
}

function parentOf(pid: string): string | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    // A container's first process may never collect its dead: a zombie is gone all the same.
    return /^State:\s*Z/m.test(status) ? null : (/^PPid:\s*(\d+)/m.exec(status)?.[1] ?? null);
  } catch {
    return null; // No such process.
  }
}

async function answers(url: string, exited: Promise<unknown>, folder: string): Promise<void> {
  let gone = false;
  void exited.then(() => {
    gone = true;
  });
  const client = new Redis(url, { retryStrategy: () => (gone ? null : 50), maxRetriesPerRequest: null });
  client.on('error', () => undefined); // Refused until the server listens; retryStrategy asks again.
  try {
    const ready = client.ping();
    const died = exited.then(() => {
      throw new LongshoreError(
        'E_REDIS_UNAVAILABLE',
        `redis-server ended while starting; see ${join(folder, 'redis.log')}`,
      );
    });
    await Promise.race([ready, died]);
    ready.catch(() => undefined);
    died.catch(() => undefined);
  } finally {
    client.disconnect();
  }
}

/** The umask says what the group may; one that an earlier release made is closed now. */
function makeClosed(folder: string): void {
  makeFolders(dirname(folder));
  makeFolders(folder, 0o770);
  const { mode } = statSync(folder);
  if ((mode & 0o007) !== 0) chmodSync(folder, mode & 0o7770);
}

function lastAddress(folder: string): { port: number; password: string } {
  const url = embeddedRedisUrl(folder);
  if (url === null) return { port: 0, password: '' };
  const { port, password } = new URL(url);
  return { port: Number(port), password };
}

/** The preferred port if nobody listens there, else any free one. */
async function freePort(preferred: number): Promise<number> {
  const taken = await tryPort(preferred);
  return taken ?? (await tryPort(0)) ?? 0;
}

function tryPort(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(null));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : null));
    });
  });
}

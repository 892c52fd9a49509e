/** A primary, a replica, and three Sentinels that watch them: what a facility runs that wants no single Redis. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import type { Place } from './place.ts';
import { freePorts } from './ports.ts';
import { until } from './until.ts';

export interface Watched {
  /** `redis+sentinel://…`; the first Sentinel that it names is not there. */
  readonly url: string;
  readonly ports: { readonly primary: number; readonly replica: number; readonly sentinels: number[] };
  /** As a host that is gone at once. */
  kill(port: number): void;
  /** It takes connections and answers nothing, until the test ends. */
  hang(port: number): void;
}

export const MASTER = 'longshore';
/** Of the servers; the Sentinels have their own. */
export const PASSWORD = 'of-the-servers';
export const SENTINEL_PASSWORD = 'of-the-sentinels';

export async function startSentinels(place: Place): Promise<Watched> {
  const children = new Map<number, ChildProcess>();
  onTestFinished(async () => {
    for (const child of children.values()) child.kill('SIGKILL');
    await until(() => [...children.values()].every(({ signalCode, exitCode }) => signalCode ?? exitCode));
  });
  const start = (port: number, lines: string[], more: string[] = []): void => {
    const folder = place.dir(`redis-${port}`);
    const file = join(folder, 'redis.conf');
    const common = [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, `logfile ${folder}/log`];
    writeFileSync(file, `${[...common, ...lines].join('\n')}\n`);
    children.set(port, spawn('redis-server', [file, ...more], { stdio: 'ignore' }));
  };
  const [primary = 0, replica = 0, ...sentinels] = await freePorts(5);
  const [missing] = await freePorts(1);
  const server = [
    'save ""',
    'appendonly yes',
    'repl-diskless-sync-delay 0',
    `requirepass ${PASSWORD}`,
    `masterauth ${PASSWORD}`,
  ];
  start(primary, server);
  start(replica, [...server, `replicaof 127.0.0.1 ${primary}`]);
  await until(async () => (await infoOf(primary)).includes('connected_slaves:1'), { what: 'the replica' });
  await until(async () => (await infoOf(replica)).includes('master_link_status:up'), { what: 'the replica' });
  for (const port of sentinels)
    start(
      port,
      [
        `requirepass ${SENTINEL_PASSWORD}`,
        `sentinel sentinel-pass ${SENTINEL_PASSWORD}`,
        `sentinel monitor ${MASTER} 127.0.0.1 ${primary} 2`,
        `sentinel auth-pass ${MASTER} ${PASSWORD}`,
        `sentinel down-after-milliseconds ${MASTER} 500`,
        `sentinel failover-timeout ${MASTER} 3000`,
      ],
      ['--sentinel'],
    );
  for (const port of sentinels)
    await until(() => knowsAll(port), { what: `Sentinel ${port} to know the others and the replica` });
  const hosts = [missing, ...sentinels].map((port) => `127.0.0.1:${port}`).join(',');
  return {
    url: `redis+sentinel://:${PASSWORD}@${hosts}/${MASTER}`,
    ports: { primary, replica, sentinels },
    kill: (port) => {
      children.get(port)?.kill('SIGKILL');
    },
    hang: (port) => {
      children.get(port)?.kill('SIGSTOP');
    },
  };
}

async function ask<T>(
  port: number,
  password: string,
  question: (redis: Redis) => Promise<T>,
): Promise<T | null> {
  const redis = new Redis({ port, password, lazyConnect: true, retryStrategy: () => null });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return await question(redis);
  } catch {
    return null; // Not there yet.
  } finally {
    redis.disconnect();
  }
}

const infoOf = async (port: number): Promise<string> =>
  (await ask(port, PASSWORD, (redis) => redis.info('replication'))) ?? '';

async function knowsAll(port: number): Promise<boolean> {
  const said = await ask(port, SENTINEL_PASSWORD, (redis) => redis.call('sentinel', 'master', MASTER));
  const words = (said ?? []) as string[];
  const of = (name: string): string | undefined => words[words.indexOf(name) + 1];
  return of('num-other-sentinels') === '2' && of('num-slaves') === '1';
}

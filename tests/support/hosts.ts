import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import type { Fleet } from './fleet.ts';
import { until } from './until.ts';

const root = join(import.meta.dirname, '../..');

/** Two machines as far as the kernel can make them of one: network, host name and processes of their own; files are shared. */
export interface Hosts {
  /** Starts a worker there, and waits until it is ready; what it has logged so far. */
  worker(host: HostName): Promise<{ log(): string }>;
  /** `longshore …` on that host. */
  longshore(host: HostName, args: readonly string[]): Promise<{ code: number | null; stdout: string }>;
  /** Nothing comes through any more, in either direction, and nobody is told. */
  cut(host: HostName): void;
  heal(host: HostName): void;
}

export type HostName = 'node-a' | 'node-b';

const ip = (...args: string[]): boolean => spawnSync('ip', args).status === 0;

/** Needs root, and a kernel with namespaces. */
export const canMakeHosts = ((): boolean => {
  const name = `ls-try-${process.pid}`;
  const made = ip('netns', 'add', name);
  if (made) ip('netns', 'del', name);
  return made && spawnSync('unshare', ['--uts', '--pid', '--fork', '--mount-proc', 'true']).status === 0;
})();

/** `redis`: one of the test's own, which the two hosts see under different addresses; the fleet's place names it in `queue.url`. */
export async function makeHosts(fleet: Fleet, redis: string): Promise<Hosts> {
  const net = `10.${randomInt(200, 250)}.${randomInt(256)}`;
  const tag = `${process.pid % 10_000}${randomInt(10, 99)}`;
  const hosts = new Map(
    (['node-a', 'node-b'] as const).map((name, at) => {
      const short = `ls${'ab'.charAt(at)}${tag}`;
      const here = `${net}.${at * 4 + 1}`;
      return [name, { space: short, link: `${short}h`, here, there: `${net}.${at * 4 + 2}` }] as const;
    }),
  );
  const children: ChildProcess[] = [];
  onTestFinished(async () => {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map(gone));
    for (const { space, link } of hosts.values()) {
      ip('link', 'del', link);
      ip('netns', 'del', space);
    }
  });
  for (const { space, link, here, there } of hosts.values()) {
    must('netns', 'add', space);
    must('link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space);
    must('addr', 'add', `${here}/30`, 'dev', link);
    must('link', 'set', link, 'up');
    must('-n', space, 'addr', 'add', `${there}/30`, 'dev', 'eth0');
    must('-n', space, 'link', 'set', 'eth0', 'up');
    must('-n', space, 'link', 'set', 'lo', 'up');
  }
  await openToHosts(
    redis,
    [...hosts.values()].map(({ here }) => here),
  );

  const on = (host: HostName, script: string, args: readonly string[]) => {
    const { space, here } = hosts.get(host) as { space: string; here: string };
    const inside = `hostname ${host} && exec "$@"`;
    const own = [
      'unshare',
      '--uts',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'sh',
      '-c',
      inside,
      'sh',
    ];
    const command = [...own, process.execPath, join(root, script), ...args];
    const env = {
      ...process.env,
      ...fleet.place.env,
      LONGSHORE_OVERRIDES: fleet.place.env.LONGSHORE_OVERRIDES?.replace(
        redis,
        redis.replace('127.0.0.1', here),
      ),
      LOG_LEVEL: 'info',
      LONGSHORE_TASKS_PATH: join(root, 'tests/fixtures/tasks'),
    };
    return { args: ['netns', 'exec', space, ...command], env };
  };
  return {
    worker: async (host) => {
      const file = fleet.place.path(`${host}.log`);
      const out = openSync(file, 'a');
      const { args, env } = on(host, 'workers/worker.ts', []);
      children.push(spawn('ip', args, { env, stdio: ['ignore', out, out] }));
      const log = (): string => readFileSync(file, 'utf8');
      await until(() => log().includes('worker ready'), { what: `the worker of ${host}` });
      return { log };
    },
    longshore: async (host, words) => {
      const { args, env } = on(host, 'scripts/longshore.ts', words);
      const child = spawn('ip', args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
      let stdout = '';
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
      const code = await new Promise<number | null>((end) => child.once('close', end));
      return { code, stdout };
    },
    cut: (host) => must('link', 'set', hosts.get(host)?.link ?? '', 'down'),
    heal: (host) => {
      const { link = '', here = '' } = hosts.get(host) ?? {};
      must('link', 'set', link, 'up');
      ip('addr', 'add', `${here}/30`, 'dev', link); // Some kernels forget it with the link.
    },
  };
}

async function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

function must(...args: string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

/** It listens on the loopback address alone. */
async function openToHosts(url: string, addresses: readonly string[]): Promise<void> {
  const redis = new Redis(url);
  await redis.config('SET', 'bind', `127.0.0.1 ${addresses.join(' ')}`);
  await redis.config('SET', 'protected-mode', 'no');
  redis.disconnect();
}

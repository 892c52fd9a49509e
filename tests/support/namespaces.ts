/** Network namespaces of this machine as hosts: each with a link of its own to the machine, and a name. */
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { Redis } from 'ioredis';

export const HOSTS = ['node-a', 'node-b'] as const;
export type HostName = (typeof HOSTS)[number];

export interface Namespaces {
  /** What to start (a program and its arguments) so that a command runs there; with `alone` it sees no other processes. */
  on(host: HostName, command: readonly string[], options?: { alone?: boolean }): readonly string[];
  /** The same address of this machine as that host sees it. */
  seenFrom(host: HostName, url: string): string;
  cut(host: HostName): void;
  heal(host: HostName): void;
  remove(): void;
}

interface Host {
  readonly space: string;
  readonly link: string;
  /** Addresses of the two ends. */
  readonly here: string;
  readonly there: string;
}

const ip = (...args: string[]): boolean => spawnSync('ip', args).status === 0;

/** Needs root, and a kernel with namespaces. */
export const canMakeHosts = ((): boolean => {
  const name = `ls-try-${process.pid}`;
  const made = ip('netns', 'add', name);
  if (made) ip('netns', 'del', name);
  return made && spawnSync('unshare', ['--uts', '--pid', '--fork', '--mount-proc', 'true']).status === 0;
})();

/** @param redis listens on the loopback address alone; the hosts are let in */
export async function makeNamespaces(redis: string): Promise<Namespaces> {
  const net = `10.${randomInt(200, 250)}.${randomInt(256)}`;
  const tag = `${process.pid % 10_000}${randomInt(10, 99)}`;
  const hosts = new Map(
    HOSTS.map((name, at): [HostName, Host] => {
      const short = `ls${'ab'.charAt(at)}${tag}`;
      const here = `${net}.${at * 4 + 1}`;
      return [name, { space: short, link: `${short}h`, here, there: `${net}.${at * 4 + 2}` }];
    }),
  );
  const host = (name: HostName): Host => hosts.get(name) as Host;
  const remove = (): void => {
    for (const { space, link } of hosts.values()) {
      ip('link', 'del', link);
      ip('netns', 'del', space);
    }
  };
  try {
    for (const one of hosts.values()) connect(one);
    await openToHosts(
      redis,
      [...hosts.values()].map(({ here }) => here),
    );
  } catch (error) {
    remove();
    throw error;
  }
  return {
    on: (name, command, { alone = false } = {}) => {
      const own = alone ? ['--pid', '--fork', '--kill-child', '--mount-proc'] : [];
      const named = ['sh', '-c', `hostname ${name} && exec "$@"`, 'sh', ...command];
      return ['ip', 'netns', 'exec', host(name).space, 'unshare', '--uts', ...own, ...named];
    },
    seenFrom: (name, url) => url.replace('127.0.0.1', host(name).here),
    cut: (name) => must('link', 'set', host(name).link, 'down'),
    heal: (name) => {
      const { link, here } = host(name);
      must('link', 'set', link, 'up');
      ip('addr', 'add', `${here}/30`, 'dev', link); // Some kernels forget it with the link.
    },
    remove,
  };
}

function connect({ space, link, here, there }: Host): void {
  must('netns', 'add', space);
  must('link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space);
  must('addr', 'add', `${here}/30`, 'dev', link);
  must('link', 'set', link, 'up');
  must('-n', space, 'addr', 'add', `${there}/30`, 'dev', 'eth0');
  must('-n', space, 'link', 'set', 'eth0', 'up');
  must('-n', space, 'link', 'set', 'lo', 'up');
}

function must(...args: string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

async function openToHosts(url: string, addresses: readonly string[]): Promise<void> {
  const redis = new Redis(url);
  await redis.config('SET', 'bind', `127.0.0.1 ${addresses.join(' ')}`);
  await redis.config('SET', 'protected-mode', 'no');
  redis.disconnect();
}
